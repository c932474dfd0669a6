"""The uniform distribution on a box."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.errors import ConfigError
from ..core.numerics import full_precision
from ..core.settings import number
from .base import Base, uniform

__all__ = ["Uniform"]


class Uniform(Base):
    """p(z) = (high − low)^−D on [low, high]^D and 0 (log-density −inf) outside; a temperature does
    not change it.

    Raises `ConfigError` unless low < high, both finite.

    >>> import torch, diffeo
    >>> diffeo.bases.Uniform((1,), 0.0, 1.0).log_prob(torch.tensor([[0.5], [1.5]]))
    tensor([0., -inf])
    """

    _like: Tensor

    def __init__(
        self, event_shape: int | Sequence[int], low: float = 0.0, high: float = 1.0
    ) -> None:
        super().__init__(event_shape)
        if not number("low", low) < number("high", high):
            raise ConfigError(f"a uniform base needs low < high, got {low} and {high}")
        self.low, self.high = float(low), float(high)
        self.register_buffer("_like", torch.zeros(()), persistent=False)

    @property
    def bounded(self) -> frozenset[int]:
        return frozenset(range(math.prod(self.event_shape)))

    def draw(self, n: int, temperature: float, generator: torch.Generator | None) -> Tensor:
        return self.low + (self.high - self.low) * uniform(
            (n, *self.event_shape), self._like, generator
        )

    def density(self, x: Tensor, temperature: float = 1.0) -> Tensor:
        x = full_precision(x).flatten(1)
        outside = ((x < self.low) | (x > self.high)).any(1)
        level = -math.log(self.high - self.low) * math.prod(self.event_shape)
        inside = x.clamp(self.low, self.high).sum(1) * 0.0 + level  # a NaN stays one
        return inside - torch.zeros_like(inside).masked_fill(outside, math.inf)
