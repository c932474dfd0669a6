"""Student's t: a base with heavy tails."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.numerics import full_precision, sum_event
from ..core.settings import number
from .base import Base, uniform

__all__ = ["StudentT"]


class StudentT(Base):
    """Independent Student t entries with `df` degrees of freedom: log p(z) = Σ c − (ν+1)/2 · log(1
    + z²/ν).

    Draws by Bailey's polar method (Bailey 1994, doi:10.2307/2153537), which needs two uniform or
    normal numbers for each value and takes a generator. Raises `ConfigError` unless df > 0.

    >>> import torch, diffeo
    >>> diffeo.bases.StudentT((1,), df=1.0).log_prob(torch.zeros(1))     # Cauchy: −log π
    tensor(-1.1447)
    """

    _like: Tensor

    def __init__(self, event_shape: int | Sequence[int], df: float = 5.0) -> None:
        super().__init__(event_shape)
        self.df = number("df", df, above=0)
        self.register_buffer("_like", torch.zeros(()), persistent=False)

    def draw(self, n: int, temperature: float, generator: torch.Generator | None) -> Tensor:
        # Bailey: sqrt(ν (u^(−2/ν) − 1)) cos(2π v) is Student t with ν degrees of freedom.
        u = 1.0 - uniform((n, *self.event_shape), self._like, generator)
        v = uniform((n, *self.event_shape), self._like, generator)
        radius = (self.df * torch.expm1(u.log() * (-2.0 / self.df))).sqrt()
        return radius * torch.cos(2 * math.pi * v) * temperature

    def density(self, x: Tensor, temperature: float = 1.0) -> Tensor:
        nu = self.df
        const = (
            math.lgamma((nu + 1) / 2)
            - math.lgamma(nu / 2)
            - 0.5 * math.log(nu * math.pi)
            - math.log(temperature)
        )
        scaled = full_precision(x) / (temperature * math.sqrt(nu))
        # 1 + z² is the square of a hypotenuse, which does not overflow where z² would.
        return sum_event(const - (nu + 1) * torch.hypot(scaled, torch.ones_like(scaled)).log())
