"""Pareto-smoothed importance sampling: how heavy is the tail of the weights, and what they are once
it is smoothed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...core.errors import ShapeError

__all__ = ["pareto_k", "smooth"]

LEAST_TAIL = 5  # with fewer weights above the cutoff there is nothing to fit
UNDERFLOW = math.log(torch.finfo(torch.float64).tiny)  # weights so far below the largest are zero
SMALLEST = 1e-300  # excesses are divided by: 30 / SMALLEST is still finite


def pareto_k(log_weights: Tensor) -> float:
    """k̂, the shape of the generalised Pareto distribution that the largest importance weights
    follow.

    Weights have 1/k finite moments: up to 0.5 the central limit theorem holds, up to 0.7 estimates
    from them are usable, beyond it they are not. Tail: the largest min(N/5, 3 √N) of log_weights
    (N,), of which −inf are weights of zero. inf when fewer than five exceed the cutoff (small N, or
    ties: weights that are all equal too), NaN when a log weight is NaN or +inf. Raises `ShapeError`
    unless log_weights is one-dimensional. Vehtari et al. 2024, arXiv:1507.02646.

    >>> g = torch.Generator().manual_seed(0)
    >>> tail = -torch.rand(20_000, generator=g, dtype=torch.float64).log()
    >>> round(pareto_k(0.3 * tail), 1), round(pareto_k(1.2 * tail), 1)  # of weights u^−k: k
    (0.3, 1.2)
    """
    return _fit(_shifted(log_weights))[0]


def smooth(log_weights: Tensor) -> tuple[Tensor, float]:
    """Normalised log weights (N,), float64, with the tail replaced by quantiles of the fitted
    Pareto distribution; and k̂.

    No smoothed weight exceeds the largest raw one. Where k̂ is not finite nothing is smoothed; all
    −inf stay so. Vehtari et al. 2024, arXiv:1507.02646.

    >>> smoothed, k_hat = smooth(torch.randn(1000, generator=torch.Generator().manual_seed(0)))
    >>> round(float(smoothed.exp().sum()), 6), k_hat < 0.7
    (1.0, True)
    """
    x = _shifted(log_weights)
    k, scale, cutoff, tail = _fit(x)
    if math.isfinite(k):
        level = torch.arange(0.5, len(tail), dtype=x.dtype, device=x.device) / len(tail)
        x = x.index_copy(0, tail, (cutoff + _quantile(level, k, scale).log1p()).clamp_max(0.0))
    total = x.logsumexp(0)
    return (x if total == -math.inf else x - total), k


def _shifted(log_weights: Tensor) -> Tensor:
    """In float64, the largest zero."""
    if log_weights.dim() != 1 or not len(log_weights):
        raise ShapeError(
            f"log_weights has shape {tuple(log_weights.shape)}: pass one log weight per draw, (N,)"
            " with N ≥ 1"
        )
    x = log_weights.detach().double()
    top = x.max()
    return x if top == -math.inf else x - top


def _fit(x: Tensor) -> tuple[float, float, float, Tensor]:
    """k̂, the scale, the cutoff and where the tail is, smallest first; excesses are exp(x − cutoff)
    − 1.
    """
    size = math.ceil(min(len(x) / 5, 3 * math.sqrt(len(x))))
    order = x.argsort(stable=True)[-size - 1 :]
    cutoff = max(float(x[order[0]]), UNDERFLOW)
    tail = order[x[order] > cutoff]
    if x.isnan().any():
        return math.nan, math.nan, cutoff, tail
    if len(tail) < LEAST_TAIL:
        return math.inf, math.nan, cutoff, tail
    return *_pareto((x[tail] - cutoff).expm1()), cutoff, tail


def _pareto(excess: Tensor) -> tuple[float, float]:
    """Shape and scale from sorted excesses (M,), by Zhang & Stephens' (2009) posterior mean over a
    grid of θ = −k / scale.

    The shape is drawn towards 0.5 with the weight of ten observations. doi:10.1198/tech.2009.08017.
    """
    n = len(excess)
    largest = excess[-1]
    unit = (excess / largest).clamp_min(SMALLEST)
    grid = _grid(unit)
    # log likelihood of the profile, whose shape at θ is the mean of log(1 − θ x)
    k = torch.log1p(-grid[:, None] * unit).mean(1)
    fit = (n * ((-grid / k).log() - k - 1)).nan_to_num(nan=-math.inf)
    weight = fit.softmax(0)
    weight = torch.where(weight >= 10 * torch.finfo(weight.dtype).eps, weight, 0.0)
    theta = (grid * weight).sum() / weight.sum()
    shape = torch.log1p(-theta * unit).mean()
    return float((n * shape + 10 * 0.5) / (n + 10)), float(-shape / theta * largest)


def _grid(unit: Tensor) -> Tensor:
    """Zhang & Stephens' grid of θ, for sorted excesses of which the largest is 1."""
    m = 30 + int(math.sqrt(len(unit)))
    i = torch.arange(1, m + 1, dtype=unit.dtype, device=unit.device)
    quartile = unit[int(len(unit) / 4 + 0.5) - 1]
    return 1 + (1 - (m / (i - 0.5)).sqrt()) / (3 * quartile)


def _quantile(level: Tensor, k: float, scale: float) -> Tensor:
    """The generalised Pareto distribution's inverse distribution function."""
    exponential = -torch.log1p(-level)
    return scale * (exponential if abs(k) < 1e-15 else torch.expm1(k * exponential) / k)
