"""The command `diffeo`: one file per verb."""

from .app import main

__all__ = ["main"]
