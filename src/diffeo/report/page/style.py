"""How the page looks. Pictures keep a white ground, so that they stay legible on a dark page."""

from pathlib import Path

__all__ = ["CSS"]

CSS = "\n" + Path(__file__).with_name("style.css").read_text(encoding="utf-8")
