"""Scale and shift."""

from __future__ import annotations

from functools import partial

from .. import registry
from ..elementwise import Kernel, compiled
from . import reference

__all__ = ["affine"]


def affine(log_scale: float, inverse: bool = False) -> Kernel:
    """y = x exp(s) + t with s = b tanh(a / b), b = `log_scale`, params (a, t), or its inverse;
    log-det ±s.
    """
    formulas = partial(reference.affine, log_scale=log_scale, inverse=inverse)
    return Kernel("affine", (log_scale, inverse), formulas)


registry.register("affine", "cpu", compiled("affine"))
