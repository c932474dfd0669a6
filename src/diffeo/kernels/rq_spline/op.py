"""The rational-quadratic spline."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from .. import registry
from ..elementwise import Elementwise, Kernel, compiled
from . import reference
from .reference import SplineShape

__all__ = ["SplineShape", "rq_spline", "rq_spline_inverse_and_logdet_grad"]

EDGES = {"unit": 0, "free": 1, "periodic": 2}
LOGDET_GRAD = "rq_spline_logdet_grad"


def rq_spline(shape: SplineShape, inverse: bool = False) -> Kernel:
    """The spline of that shape, or its inverse; outside the box the identity."""
    formulas = partial(reference.rq_spline, shape=shape, inverse=inverse)
    return Kernel("rq_spline", _settings(shape, inverse), formulas)


def rq_spline_inverse_and_logdet_grad(
    y: Tensor, params: Tensor, shape: SplineShape
) -> tuple[Tensor, Tensor, Tensor]:
    """The inverse of y (*S), its log-derivative, and the derivative of that by y, which carries
    no gradient.
    """
    serving: Elementwise | None = registry.find(LOGDET_GRAD, y)
    if serving is None or not 1 <= y.dim() <= 4 or y.dtype != params.dtype:
        return reference.rq_spline_inverse_and_logdet_grad(y, params, shape)
    x, logdet = rq_spline(shape, inverse=True)(y, params)
    with torch.no_grad():
        grad, _ = serving.forward(y.detach(), params.detach(), _settings(shape, True), False)
    return x, logdet, grad


def _settings(shape: SplineShape, inverse: bool) -> tuple[float, ...]:
    return (
        shape.bins,
        EDGES[shape.edges],
        shape.low,
        shape.high,
        shape.min_bin,
        shape.log_slope,
        inverse,
    )


for _name in ("rq_spline", LOGDET_GRAD):
    registry.register(_name, "cpu", compiled(_name))
