"""The standard logistic distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..core.numerics import full_precision, sum_event
from .base import Base, uniform

__all__ = ["Logistic"]


class Logistic(Base):
    """log p(z) = −Σ [softplus(z/T) + softplus(−z/T)] − D log T: heavier tails than the normal's; T
    is the temperature.

    NICE's base for images, Dinh et al. 2014, arXiv:1410.8516.

    >>> import torch, diffeo
    >>> diffeo.bases.Logistic((2,)).log_prob(torch.zeros(2))
    tensor(-2.7726)
    """

    _like: Tensor

    def __init__(self, event_shape: int | Sequence[int]) -> None:
        super().__init__(event_shape)
        self.register_buffer("_like", torch.zeros(()), persistent=False)

    def draw(self, n: int, temperature: float, generator: torch.Generator | None) -> Tensor:
        u = uniform((n, *self.event_shape), self._like, generator)
        u = u.clamp_min(0.25 * torch.finfo(u.dtype).eps)  # u = 0 would be −inf
        return (u.log() - (-u).log1p()) * temperature

    def density(self, x: Tensor, temperature: float = 1.0) -> Tensor:
        z = full_precision(x) / temperature
        return -sum_event(softplus(z) + softplus(-z)) - math.log(temperature) * math.prod(
            self.event_shape
        )
