"""The piecewise-linear spline: the simplest map of Neural Importance Sampling."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import ElementwiseMap
from .knots import Bin, check_spline, find_bin, mean_one, on_box, take

__all__ = ["LinearSpline"]


@dataclass(frozen=True)
class LinearSpline(ElementwiseMap):
    """A piecewise-linear CDF: y = y_k + s_k (x − x_k) in bin k of K equal ones on [low, high], the
    identity outside.

    Parameters are K raw log-slopes (P = K); the slopes have mean 1 and lie within exp(±2
    `log_slope`). Müller et al. 2019, arXiv:1808.03856. The density is constant in each bin and
    **jumps** at the knots, the ends of the box among them; at a knot the log-det is that of the bin
    on the right, at `high` that of the last bin. So values are continuous and the two directions'
    log-dets agree except within rounding of a knot. The bins stay equal: a knot moved across a
    point would make its density jump. Raises `ConfigError` when bins < 2, the box is empty or
    `log_slope` is not positive.

    >>> import torch, diffeo
    >>> spline = diffeo.maps.LinearSpline(bins=4, low=-4.0, high=4.0)
    >>> spline.forward(torch.tensor([1.0, 9.0]), torch.zeros(2, spline.num_params))
    (tensor([1., 9.]), tensor([0., 0.]))
    """

    bins: int = 8
    low: float = -5.0
    high: float = 5.0
    log_slope: float = 2.0

    def __post_init__(self) -> None:
        check_spline(self.bins, self.low, self.high, log_slope=self.log_slope)

    @property
    def num_params(self) -> int:
        return self.bins

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return on_box(self._forward, x, params, low=self.low, high=self.high)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return on_box(self._inverse, y, params, low=self.low, high=self.high)

    def _forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        bin_, slope = self._bin(x, params, inverse=False)
        return bin_.y0 + (x - bin_.x0) / bin_.width * bin_.height, slope.log()

    def _inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        bin_, slope = self._bin(y, params, inverse=True)
        return bin_.x0 + (y - bin_.y0) / bin_.height * bin_.width, -slope.log()

    def _bin(self, at: Tensor, params: Tensor, inverse: bool) -> tuple[Bin, Tensor]:
        """The bin of each entry and its slope."""
        widths = torch.full_like(params, 1 / self.bins)
        slopes = mean_one(params, widths, self.log_slope)
        bin_ = find_bin(at, widths, widths * slopes, inverse=inverse)
        return bin_, take(slopes, bin_.number)
