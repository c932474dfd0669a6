"""From the unit interval to the real line, keeping off its ends."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from ...core.numerics import sum_event
from ...core.open_ends import log_sigmoid_slope
from ...core.settings import number
from ...core.transform import Transform

__all__ = ["Logit"]


class Logit(Transform):
    """y = logit(α + (1 − 2α) x) for x in [0, 1], log|det| = Σ log(1 − 2α) + softplus(y) +
    softplus(−y).

    Outside [0, 1] the log-det is −inf. The inverse of a y beyond logit(α) or logit(1 − α) lies
    outside [0, 1]; a `Dequantize` before it takes it to the nearest pixel. RealNVP's preprocessing,
    Dinh et al. 2016, arXiv:1605.08803, with its α = 0.05. Raises `ConfigError` unless 0 < α < ½.

    >>> import torch, diffeo
    >>> diffeo.layers.Logit()(torch.tensor([[0.5]]))[0]
    tensor([[0.]])
    """

    def __init__(self, alpha: float = 0.05) -> None:
        super().__init__()
        self.alpha = number("alpha", alpha, above=0, below=0.5)

    @property
    def support(self) -> Constraint:
        return constraints.unit_interval

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        outside = (x < 0) | (x > 1)
        inner = self.alpha + (1 - 2 * self.alpha) * x.clamp(0, 1)
        left = inner.log()
        # not log(1 − x) as over other intervals: the difference would be rounded
        right = (-inner).log1p()
        logdet = math.log(1 - 2 * self.alpha) - left - right
        return left - right, sum_event(torch.where(outside, -math.inf, logdet))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = (torch.sigmoid(y) - self.alpha) / (1 - 2 * self.alpha)
        return x, sum_event(log_sigmoid_slope(y) - math.log(1 - 2 * self.alpha))

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"
