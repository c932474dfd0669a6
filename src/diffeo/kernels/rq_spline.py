"""The rational-quadratic spline."""

from __future__ import annotations

import torch
from torch import Tensor

from . import eager_rq_spline as eager
from .eager_rq_spline import SplineShape
from .fused import Kernel, Pair
from .native import serves

__all__ = ["SplineShape", "rq_spline", "rq_spline_bend"]

EDGES = {"unit": 0, "free": 1, "periodic": 2}


def rq_spline(shape: SplineShape, inverse: bool = False) -> Kernel:
    """The spline of that shape, or its inverse; outside the box the identity."""

    def twin(x: Tensor, params: Tensor) -> Pair:
        return eager.rq_spline(x, params, shape, inverse=inverse)

    return Kernel("rq_spline", _settings(shape, inverse), twin)


def rq_spline_bend(y: Tensor, params: Tensor, shape: SplineShape) -> tuple[Tensor, Tensor, Tensor]:
    """The inverse of y (*S), its log-derivative, and the derivative of that by y, which carries no
    gradient.
    """
    if not serves(y) or not 1 <= y.dim() <= 4 or y.dtype != params.dtype:
        return eager.rq_spline_bend(y, params, shape)
    x, logdet = rq_spline(shape, inverse=True)(y, params)
    with torch.no_grad():
        bend, _ = torch.ops.diffeo.elementwise(
            y.detach(), params.detach(), "rq_spline_bend", _settings(shape, True), False
        )
    return x, logdet, bend


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
