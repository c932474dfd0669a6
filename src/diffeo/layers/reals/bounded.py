"""From bounded supports to the real line, and around circles."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from ...core.constraints import between
from ...core.errors import ConfigError
from ...core.numerics import sum_event
from ...core.open_ends import (
    exponent,
    log_distances,
    log_sigmoid_slope,
    off_the_ends,
    scaled_sigmoid,
)
from ...core.settings import number
from ...core.transform import Transform

__all__ = ["Interval", "Positive", "Wrap"]


class Positive(Transform):
    """y = log x, log|det| = −Σ log x, for x > 0; outside, the log-det is −inf.

    >>> import torch, diffeo
    >>> diffeo.layers.Positive()(torch.tensor([[1.0], [-1.0]]))[1]
    tensor([0., -inf])
    """

    any_dtype = True

    @property
    def support(self) -> Constraint:
        return constraints.positive

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = _floating(x)
        outside = (x <= 0) | (x == math.inf)
        y = torch.where(outside, torch.ones_like(x), x).log()
        return y, sum_event(torch.where(outside, -math.inf, -y))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        # finite and positive however far out; the log-det is that at the value returned
        y = exponent(y)
        return y.exp(), sum_event(y)


class Interval(Transform):
    """y = log(x − low) − log(high − x) for low < x < high; outside, the log-det is −inf.

    log|det| = Σ log(high − low) − log(x − low) − log(high − x). Raises `ConfigError` unless low <
    high, both finite.

    >>> import torch, diffeo
    >>> diffeo.layers.Interval(0.0, 1.0)(torch.tensor([[0.5]]))
    (tensor([[0.]]), tensor([1.3863]))
    """

    any_dtype = True

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = _bounds(low, high)

    @property
    def support(self) -> Constraint:
        return between(self.low, self.high)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = _floating(x)
        outside = (x <= self.low) | (x >= self.high)
        left, right = log_distances(x, self.low, self.high, inside=~outside)
        logdet = math.log(self.high - self.low) - left - right
        return left - right, sum_event(torch.where(outside, -math.inf, logdet))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        low = torch.tensor(self.low, dtype=y.dtype, device=y.device)
        high = torch.tensor(self.high, dtype=y.dtype, device=y.device)
        x = off_the_ends(scaled_sigmoid(y, self.low, self.high), low, high)
        return x, sum_event(math.log(self.high - self.low) + log_sigmoid_slope(y))

    def extra_repr(self) -> str:
        return f"low={self.low}, high={self.high}"


class Wrap(Transform):
    """x on a circle [low, high), wrapped, then scaled onto [−bound, bound): log|det| = Σ log(2
    bound / (high − low)).

    Its inverse returns values in [low, high). Raises `ConfigError` unless low < high, both finite,
    and bound > 0.

    >>> import torch, diffeo
    >>> diffeo.layers.Wrap(0.0, 360.0, bound=1.0)(torch.tensor([[540.0]]))[0]
    tensor([[0.]])
    """

    any_dtype = True

    def __init__(self, low: float, high: float, bound: float = 5.0) -> None:
        super().__init__()
        self.low, self.high = _bounds(low, high)
        self.bound = number("bound", bound, above=0)
        self.log_scale = math.log(2 * self.bound / (self.high - self.low))

    @property
    def support(self) -> Constraint:
        return constraints.half_open_interval(self.low, self.high)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        turn = torch.remainder((_floating(x) - self.low) / (self.high - self.low), 1.0)
        y = (2 * turn - 1) * self.bound
        return y, sum_event(torch.full_like(y, self.log_scale))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        turn = torch.remainder((y / self.bound + 1) / 2, 1.0)
        x = self.low + (self.high - self.low) * turn
        return torch.where(x >= self.high, self.low, x), sum_event(
            torch.full_like(y, -self.log_scale)
        )

    def extra_repr(self) -> str:
        return f"low={self.low}, high={self.high}, bound={self.bound}"


def _bounds(low: float, high: float) -> tuple[float, float]:
    if not number("low", low) < number("high", high):
        raise ConfigError(f"bounds need low < high, got {low} and {high}")
    return float(low), float(high)


def _floating(x: Tensor) -> Tensor:
    return x if x.is_floating_point() else x.double()
