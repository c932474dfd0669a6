"""The monotone rational-quadratic spline: Neural Spline Flow's map."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from ..core.settings import one_of
from ..kernels import Kernel, SplineShape, rq_spline, rq_spline_inverse_and_logdet_grad
from .base import ElementwiseMap
from .knots import check_spline

__all__ = ["RQSpline"]


@dataclass(frozen=True)
class RQSpline(ElementwiseMap):
    """A monotone rational-quadratic spline of K bins on the box [low, high], the identity outside
    it.

    With `ends="linear"` the derivative at both ends is 1, so the identity tails continue it
    smoothly (P = 3K − 1). With `ends="free"` the end derivatives are learned too (P = 3K + 1): for
    data or a base on exactly that box. Durkan et al. 2019, arXiv:1906.04032; the slope inside a bin
    is bounded below and above (docs/numbers.md), so that float32 can invert it.

    Raises `ConfigError` when bins < 2, the box is empty, or `min_bin`, the least share of the box
    that all bins have together, is not in (0, 1).

    >>> import torch, diffeo
    >>> spline = diffeo.maps.RQSpline(bins=4, low=-3.0, high=3.0)
    >>> spline.forward(torch.tensor([1.0]), torch.zeros(1, spline.num_params))
    (tensor([1.]), tensor([0.]))
    """

    bins: int = 8
    low: float = -5.0
    high: float = 5.0
    ends: Literal["linear", "free"] = "linear"
    min_bin: float = 0.3
    log_slope: float = 1.0
    _shape: SplineShape = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        one_of("ends", self.ends, ["linear", "free"])
        edges: Literal["unit", "free"] = "unit" if self.ends == "linear" else "free"
        object.__setattr__(
            self,
            "_shape",
            spline_shape(
                self.bins,
                self.low,
                self.high,
                edges=edges,
                min_bin=self.min_bin,
                log_slope=self.log_slope,
            ),
        )

    @property
    def num_params(self) -> int:
        return self._shape.num_params

    def kernel(self, inverse: bool = False) -> Kernel:
        return rq_spline(self._shape, inverse)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self.kernel()(x, params)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self.kernel(inverse=True)(y, params)

    def inverse_and_logdet_grad(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return rq_spline_inverse_and_logdet_grad(y, params, self._shape)


def spline_shape(
    bins: int,
    low: float,
    high: float,
    *,
    edges: Literal["unit", "free", "periodic"],
    min_bin: float,
    log_slope: float,
) -> SplineShape:
    """Check the settings of a rational-quadratic spline; raises `ConfigError`."""
    check_spline(bins, low, high, log_slope=log_slope, min_bin=min_bin)
    return SplineShape(bins, float(low), float(high), edges, float(min_bin), float(log_slope))
