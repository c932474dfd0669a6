"""Tempering: from an easy density to the target, as fast as the weights allow."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..target.density import LogDensity
from ..weights.tempering import largest_rise

__all__ = ["Annealed"]

ROUNDS = 30  # of bisection


class Annealed(nn.Module):
    """log p_β(u) = β log p̃(u) + (1 − β) log N(u; 0, s² I), with β rising from 0 to 1 while
    training; log p̃ in evaluation.

    Each step raises β as far as the weights (p̃ / N)^Δβ of its points keep an effective sample size
    of `share`, but at least by `slowest`, so that β = 1 is reached in 1 / `slowest` steps whatever
    happens. β is part of the state, so a resumed run goes on where it was. Neal 2001
    (arXiv:physics/9803008) for the path.

    >>> import torch
    >>> from diffeo.inference import Annealed
    >>> target = Annealed(lambda u: -u.square().sum(1), slowest=0.25).train()
    >>> for _ in range(4):
    ...     values = target(torch.randn(100, 2))
    >>> float(target.beta)
    1.0
    """

    beta: Tensor

    def __init__(
        self, target: LogDensity, *, scale: float = 1.0, share: float = 0.999, slowest: float = 1e-3
    ) -> None:
        super().__init__()
        self.target = target
        self.scale = scale
        self.share = share
        self.slowest = slowest
        self.register_buffer("beta", torch.zeros((), dtype=torch.float64))

    def forward(self, u: Tensor) -> Tensor:
        log_p = self.target(u)
        if not self.training or float(self.beta) >= 1:
            return log_p
        log_r = -0.5 * (u / self.scale).square().sum(1) - u.shape[1] * math.log(
            self.scale * math.sqrt(2 * math.pi)
        )
        self._rise((log_p - log_r).detach())
        beta = float(self.beta)
        # (1 − β) log r alone would give weight to points outside the support
        inside = log_p.isfinite()
        return torch.where(
            inside, beta * log_p.where(inside, log_r) + (1 - beta) * log_r, -math.inf
        )

    def _rise(self, log_ratio: Tensor) -> None:
        left = 1 - float(self.beta)
        step = min(left, max(self.slowest, _largest_rise(log_ratio, left, self.share)))
        self.beta.fill_(1.0 if step >= left - 1e-12 else float(self.beta) + step)


def _largest_rise(log_ratio: Tensor, most: float, share: float) -> float:
    """The largest δ ≤ most for which weights exp(δ · log_ratio) are still even enough."""
    finite = log_ratio[log_ratio.isfinite()].double()
    if not len(finite):
        return 0.0
    low, _ = largest_rise(finite[None], most, share=share, midpoint=_mean, rounds=ROUNDS)
    return low


def _mean(low: float, high: float) -> float:
    return 0.5 * (low + high)
