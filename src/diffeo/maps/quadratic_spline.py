"""The piecewise-quadratic spline: Neural Importance Sampling's map."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from .base import ElementwiseMap
from .knots import Bin, check_spline, find_bin, mean_one, on_box, shares, take

__all__ = ["QuadraticSpline"]


@dataclass(frozen=True)
class QuadraticSpline(ElementwiseMap):
    """A piecewise-quadratic CDF of K bins on [low, high], the identity outside: dy/dx is linear in
    each bin.

    With ξ = (x − x_k) / w_k the slope is v_k + (v_{k+1} − v_k) ξ, and y = y_k + w_k (v_k ξ +
    (v_{k+1} − v_k) ξ² / 2). Parameters are K raw widths and K − 1 raw log-densities of the inner
    vertices (P = 2K − 1). The densities at the ends are 1, so the tails continue them and the
    density is continuous everywhere; the inner ones are scaled to an area of 1 and lie within
    exp(±2 `log_slope`), and so does the slope inside the bins. Müller et al. 2019,
    arXiv:1808.03856, where the ends are free. Raises `ConfigError` when bins < 3 (two leave nothing
    to learn), the box is empty, `log_slope` is not positive, or `min_bin`, the least share of the
    box that all widths have together, is not in (0, 1).

    >>> import torch, diffeo
    >>> spline = diffeo.maps.QuadraticSpline(bins=4, low=-4.0, high=4.0)
    >>> spline.forward(torch.tensor([1.0, 9.0]), torch.zeros(2, spline.num_params))
    (tensor([1., 9.]), tensor([0., 0.]))
    """

    bins: int = 8
    low: float = -5.0
    high: float = 5.0
    min_bin: float = 0.3
    log_slope: float = 2.0

    def __post_init__(self) -> None:
        check_spline(
            self.bins, self.low, self.high, log_slope=self.log_slope, min_bin=self.min_bin, fewest=3
        )

    @property
    def num_params(self) -> int:
        return 2 * self.bins - 1

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return on_box(self._forward, x, params, low=self.low, high=self.high)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return on_box(self._inverse, y, params, low=self.low, high=self.high)

    def _forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        bin_, v0, v1 = self._bin(x, params, inverse=False)
        xi = (x - bin_.x0) / bin_.width
        # As a share of the bin's height, which is w (v0 + v1) / 2 up to rounding: the bins then
        # meet.
        share = xi * (2 * v0 + (v1 - v0) * xi) / (v0 + v1)
        return bin_.y0 + bin_.height * share, _density(v0, v1, xi).log()

    def _inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        bin_, v0, v1 = self._bin(y, params, inverse=True)
        area = (y - bin_.y0) / bin_.height * (v0 + v1)
        # The root's square is that of the density there; the form of the quadratic's root that does
        # not cancel.
        density = (v0 * v0 + (v1 - v0) * area).clamp_min(1e-30).sqrt()
        xi = (area / (v0 + density)).clamp_max(1)
        return bin_.x0 + bin_.width * xi, -_density(v0, v1, xi).log()

    def _bin(self, at: Tensor, params: Tensor, inverse: bool) -> tuple[Bin, Tensor, Tensor]:
        """The bin of each entry and the densities at its two vertices."""
        widths = shares(params[..., : self.bins], self.min_bin)
        inner = mean_one(
            params[..., self.bins :], (widths[..., 1:] + widths[..., :-1]) / 2, self.log_slope
        )
        densities = F.pad(inner, (1, 1), value=1.0)
        heights = widths * (densities[..., 1:] + densities[..., :-1]) / 2
        bin_ = find_bin(at, widths, heights, inverse=inverse)
        return bin_, take(densities, bin_.number), take(densities, bin_.number + 1)


def _density(v0: Tensor, v1: Tensor, xi: Tensor) -> Tensor:
    # of positive terms: where v0 is much the larger, v0 + (v1 − v0) ξ may round to below 0
    return v0 * (1 - xi) + v1 * xi
