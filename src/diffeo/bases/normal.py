"""The standard normal distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.numerics import full_precision, sum_event
from .base import Base, randn

__all__ = ["Normal"]


class Normal(Base):
    """log p(z) = −½ Σ (z/T)² − (D/2) log 2π − D log T, with nothing to train; T is the temperature.

    >>> import torch, diffeo
    >>> diffeo.bases.Normal((2,)).log_prob(torch.zeros(2))
    tensor(-1.8379)
    """

    _like: Tensor

    def __init__(self, event_shape: int | Sequence[int]) -> None:
        super().__init__(event_shape)
        self.register_buffer("_like", torch.zeros(()), persistent=False)

    def draw(self, n: int, temperature: float, generator: torch.Generator | None) -> Tensor:
        return randn((n, *self.event_shape), self._like, generator) * temperature

    def density(self, x: Tensor, temperature: float = 1.0) -> Tensor:
        log_scale = math.log(temperature) + 0.5 * math.log(2 * math.pi)
        scaled = full_precision(x) / temperature if temperature != 1.0 else full_precision(x)
        return -0.5 * sum_event(scaled * scaled) - log_scale * math.prod(self.event_shape)
