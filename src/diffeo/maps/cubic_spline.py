"""The monotone cubic spline: the map of Cubic-Spline Flows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import ElementwiseMap
from .knots import Bin, check_spline, find_bin, mean_one, on_box, shares, take

__all__ = ["CubicSpline"]

ITERATIONS = 5  # float32 stops improving after 2, float64 after 4, whatever the end slopes


@dataclass(frozen=True)
class CubicSpline(ElementwiseMap):
    """Monotone cubic interpolation (Steffen's) of K + 1 knots on [low, high], the identity outside.

    With ξ = (x − x_k) / w_k, mean slope s of the bin, a = d_k / s and b = d_{k+1} / s:

        y = y_k + h_k (a ξ + (3 − 2a − b) ξ² + (a + b − 2) ξ³)

    Parameters are K raw widths and K raw log-slopes (P = 2K). A derivative between bins is the
    least of twice their slopes and the derivative of the parabola through the three knots; at the
    ends it is 1, so the tails continue it and the density is continuous everywhere. So that 1 is
    not too steep for them, the slopes of the two end bins are at least ½. Slopes of bins have mean
    1 and lie within exp(±2 `log_slope`), those inside the bins between half the least and twice the
    largest. The inverse is Newton's method in a bracket, a fixed number of steps, with the
    gradients, those of its log-det too, of the implicit function theorem. Durkan et al. 2019,
    arXiv:1906.02145, where heights are a softmax and the end derivatives free. Raises `ConfigError`
    when bins < 2, the box is empty, `log_slope` is not positive, or `min_bin`, the least share of
    the box that all widths have together, is not in (0, 1).

    >>> import torch, diffeo
    >>> spline = diffeo.maps.CubicSpline(bins=4, low=-4.0, high=4.0)
    >>> spline.forward(torch.tensor([1.0, 9.0]), torch.zeros(2, spline.num_params))
    (tensor([1., 9.]), tensor([0., 0.]))
    """

    bins: int = 8
    low: float = -5.0
    high: float = 5.0
    min_bin: float = 0.3
    log_slope: float = 2.0

    def __post_init__(self) -> None:
        check_spline(self.bins, self.low, self.high, log_slope=self.log_slope, min_bin=self.min_bin)

    @property
    def num_params(self) -> int:
        return 2 * self.bins

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return on_box(self._forward, x, params, low=self.low, high=self.high)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return on_box(self._inverse, y, params, low=self.low, high=self.high)

    def _forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        bin_, slope, cubic = self._bin(x, params, inverse=False)
        xi = (x - bin_.x0) / bin_.width
        return bin_.y0 + bin_.height * cubic.value(xi), (slope * cubic.slope(xi)).log()

    def _inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        bin_, slope, cubic = self._bin(y, params, inverse=True)
        xi = cubic.inverse((y - bin_.y0) / bin_.height)
        return bin_.x0 + bin_.width * xi, -(slope * cubic.slope(xi)).log()

    def _bin(self, at: Tensor, params: Tensor, inverse: bool) -> tuple[Bin, Tensor, _Cubic]:
        """The bin of each entry, its mean slope and the cubic in it."""
        widths = shares(params[..., : self.bins], self.min_bin)
        # Between two slopes a bin is monotone, with room to spare, while both are at most twice its
        # mean slope.
        least = F.pad(widths.new_zeros(self.bins - 2), (1, 1), value=0.5)
        slopes = least + (1 - least) * mean_one(
            params[..., self.bins :], widths * (1 - least), self.log_slope
        )
        derivatives = F.pad(_steffen(widths, slopes), (1, 1), value=1.0)
        bin_ = find_bin(at, widths, widths * slopes, inverse=inverse)
        slope = take(slopes, bin_.number)
        left, right = take(derivatives, bin_.number), take(derivatives, bin_.number + 1)
        return bin_, slope, _Cubic(left / slope, right / slope)


def _steffen(widths: Tensor, slopes: Tensor) -> Tensor:
    """Derivatives at the inner knots, at most twice the slopes on either side and at least the
    smaller one.
    """
    left, right = slopes[..., :-1], slopes[..., 1:]
    before, after = widths[..., :-1], widths[..., 1:]
    parabola = (left * after + right * before) / (before + after)
    return torch.minimum(2 * torch.minimum(left, right), parabola)


class _Cubic(NamedTuple):
    """The cubic from (0, 0) to (1, 1) with slopes a and b at its ends, both in (0, 2]: its slope is
    at least min(a, b, ½).
    """

    a: Tensor
    b: Tensor

    def value(self, xi: Tensor) -> Tensor:
        return xi * (self.a + xi * (3 - 2 * self.a - self.b + xi * (self.a + self.b - 2)))

    def slope(self, xi: Tensor) -> Tensor:
        rest = 1 - xi
        return self.a * rest * (1 - 3 * xi) + 6 * xi * rest + self.b * xi * (3 * xi - 2)

    def inverse(self, value: Tensor) -> Tensor:
        with torch.no_grad():
            xi = self._solve(value)
        # Newton steps whose length is zero but whose derivatives are not: the implicit function
        # theorem. One gives first derivatives, two give second ones.
        for _ in range(2):
            gap = value - self.value(xi)
            xi = xi + (gap - gap.detach()) / self.slope(xi)
        return xi

    def _solve(self, value: Tensor) -> Tensor:
        low, high = torch.zeros_like(value), torch.ones_like(value)
        xi = self._guess(value).clamp(0, 1)
        for _ in range(ITERATIONS):
            gap = value - self.value(xi)
            low, high = torch.where(gap < 0, low, xi), torch.where(gap < 0, xi, high)
            step = xi + gap / self.slope(xi)
            xi = torch.where((step >= low) & (step <= high), step, 0.5 * (low + high))
        return xi

    def _guess(self, value: Tensor) -> Tensor:
        """The inverse of the rational quadratic with the same ends and slopes, within 0.06 of the
        cubic's.
        """
        bend = self.a + self.b - 2
        half = self.a - value * bend
        root = (half * half + 4 * value * (1 - self.a + value * bend)).clamp_min(0).sqrt()
        return 2 * value / (half + root)
