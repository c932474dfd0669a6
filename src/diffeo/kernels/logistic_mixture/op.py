"""The mixture of logistics."""

from __future__ import annotations

from functools import partial

from .. import registry
from ..elementwise import Kernel, compiled
from . import reference
from .reference import MixtureShape

__all__ = ["MixtureShape", "logistic_mixture"]


def logistic_mixture(shape: MixtureShape, inverse: bool = False) -> Kernel:
    """y = exp(a) [(1 − ε) G(x) + ε x] + t with params (a, t, logits of π, μ, s), or its inverse,
    and the log-derivative.
    """
    settings = (shape.components, shape.log_scale, shape.log_width, shape.floor, inverse)
    formulas = partial(reference.logistic_mixture, shape=shape, inverse=inverse)
    return Kernel("logistic_mixture", settings, formulas)


registry.register("logistic_mixture", "cpu", compiled("logistic_mixture"))
