"""Scale and shift."""

from .op import affine

__all__ = ["affine"]
