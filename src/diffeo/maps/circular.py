"""The spline on a circle."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..kernels import SplineShape, rq_spline
from .base import ElementwiseMap
from .rq_spline import spline_shape

__all__ = ["CircularSpline"]


@dataclass(frozen=True)
class CircularSpline(ElementwiseMap):
    """A monotone rational-quadratic spline of the circle [low, high), followed by a rotation (P =
    3K + 1).

    The two ends share one derivative, so the density is continuous across the seam; the last
    parameter is the angle of the rotation. Inputs are wrapped into [low, high). Rezende et al.
    2020, arXiv:2002.02428. Raises `ConfigError` as `RQSpline` does.

    >>> import torch, diffeo
    >>> circle = diffeo.maps.CircularSpline(bins=4, low=0.0, high=360.0)
    >>> circle.forward(torch.tensor([370.0]), torch.zeros(1, circle.num_params))
    (tensor([10.]), tensor([0.]))
    """

    bins: int = 8
    low: float = -5.0
    high: float = 5.0
    min_bin: float = 0.3
    log_slope: float = 1.0
    _shape: SplineShape = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        shape = spline_shape(
            self.bins,
            self.low,
            self.high,
            edges="periodic",
            min_bin=self.min_bin,
            log_slope=self.log_slope,
        )
        object.__setattr__(self, "_shape", shape)

    @property
    def num_params(self) -> int:
        return self._shape.num_params + 1

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        y, logdet = rq_spline(self._shape)(self._wrap(x), params[..., :-1])
        return self._wrap(y + params[..., -1]), logdet

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return rq_spline(self._shape, inverse=True)(
            self._wrap(y - params[..., -1]), params[..., :-1]
        )

    def forward_by_row(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        y, logdet = rq_spline(self._shape)(self._wrap(x), params[..., :-1], by_row=True)
        return self._wrap(y + params[..., -1]), logdet

    def inverse_by_row(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        x = self._wrap(y - params[..., -1])
        return rq_spline(self._shape, inverse=True)(x, params[..., :-1], by_row=True)

    def _wrap(self, x: Tensor) -> Tensor:
        # Values already on the circle pass unchanged, so that wrapping costs them no rounding.
        around = self.low + torch.remainder(x - self.low, self.high - self.low)
        return torch.where((x >= self.low) & (x < self.high), x, around)
