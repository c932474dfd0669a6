"""What the piecewise-polynomial splines share: their settings, the box, knots, and the bin that a
point falls into.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.errors import ConfigError
from ..core.numerics import soft_clamp
from ..core.settings import number, whole

__all__ = ["Bin", "check_spline", "find_bin", "mean_one", "on_box", "shares", "take"]


class Bin(NamedTuple):
    """The bin of each entry: its number (*S, 1), left knot (x0, y0), width and height (*S), as
    parts of the box.
    """

    number: Tensor
    x0: Tensor
    y0: Tensor
    width: Tensor
    height: Tensor


def check_spline(
    bins: int,
    low: float,
    high: float,
    *,
    log_slope: float,
    min_bin: float | None = None,
    fewest: int = 2,
) -> None:
    """Check the settings of a spline; raises `ConfigError`."""
    whole("bins", bins, least=fewest)
    if not number("low", low) < number("high", high):
        raise ConfigError(f"the box of a spline needs low < high, got {low} and {high}")
    if min_bin is not None:
        number("min_bin", min_bin, above=0, below=1)
    number("log_slope", log_slope, above=0)


def on_box(
    curve: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    x: Tensor,
    params: Tensor,
    *,
    low: float,
    high: float,
) -> tuple[Tensor, Tensor]:
    """Apply a curve of [0, 1], given as (u, params) -> value and log-slope, to [low, high]; the
    identity outside.

    Entries outside, NaN among them, meet the curve as the middle of the box, so that their
    gradients are finite.
    """
    inside = (x >= low) & (x <= high)
    at = torch.where(inside, x, 0.5 * (low + high))
    value, log_slope = curve((at - low) / (high - low), params)
    return torch.where(inside, low + (high - low) * value, x), torch.where(inside, log_slope, 0.0)


def shares(raw: Tensor, min_bin: float) -> Tensor:
    """Sizes of K bins (*S, K) that sum to 1, each at least min_bin / K; equal at zero."""
    return raw.softmax(-1) * (1 - min_bin) + min_bin / raw.shape[-1]


def mean_one(raw: Tensor, weights: Tensor, log_slope: float) -> Tensor:
    """Positive slopes of weighted mean 1, within exp(±2 `log_slope`); all 1 at zero."""
    slope = soft_clamp(raw, log_slope).exp()
    return slope * (weights.sum(-1, keepdim=True) / (weights * slope).sum(-1, keepdim=True))


def find_bin(at: Tensor, widths: Tensor, heights: Tensor, *, inverse: bool) -> Bin:
    """The bin of `at` in [0, 1], a value of x, or of y in the inverse."""
    xs, ys = _knots(widths), _knots(heights)
    index = (at[..., None] >= (ys if inverse else xs)[..., 1:-1]).sum(-1, keepdim=True)
    x0, y0 = take(xs, index), take(ys, index)
    return Bin(index, x0, y0, _apart(x0, take(xs, index + 1)), _apart(y0, take(ys, index + 1)))


def _apart(left: Tensor, right: Tensor) -> Tensor:
    # Differences of knots, not the sizes that they are sums of, so that a bin ends where the next
    # begins; extreme settings may make bins that rounding closes, and nothing may be divided by
    # their zero.
    return (right - left).clamp_min(torch.finfo(left.dtype).eps)


def take(values: Tensor, index: Tensor) -> Tensor:
    """values (*S, N), index (*S, 1) -> (*S)."""
    return values.gather(-1, index)[..., 0]


def _knots(sizes: Tensor) -> Tensor:
    # The ends are 0 and 1 whatever the rounding of the sum, so that the curve meets the tails.
    return F.pad(F.pad(sizes[..., :-1].cumsum(-1), (1, 0)), (0, 1), value=1.0)
