"""Laplace's approximation: where to begin."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.autograd import grad

from .hmc import LogDensity

__all__ = ["Laplace", "all_found", "laplace"]

FAR = 1e30  # the value of −log p̃ where p̃ = 0, so that a line search turns back
UNSEEN = 0.005  # chance that another climb ends in a new place, below which all are taken for found: basins differ in size
MOST_STARTS, MOST_MODES = 1_024, 100  # beyond them there are too many maxima to find
FAR_OUT = (3.0, 10.0, 30.0)  # times the scale
NUDGE = 0.01  # of the scale
WIDEST = 1e4  # standard deviation along directions that the density does not bend in


@dataclass(frozen=True)
class Laplace:
    """N(mode, L Lᵀ) with L Lᵀ the inverse of −∂² log p̃ at the mode, and log Z = log p̃(mode) + ½ D log 2π + log|L|."""

    mode: Tensor
    lower: Tensor
    log_z: float
    proper: bool
    """False when log p̃ does not bend down in every direction there: no maximum, or a flat one."""
    hits: int = 1
    """How many of the climbs ended here."""

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Points (count, D)."""
        noise = torch.randn(count, len(self.mode), generator=generator, dtype=self.mode.dtype)
        return self.mode + noise @ self.lower.T

    def distance(self, points: Tensor) -> Tensor:
        """Of points (N, D) from the mode, in standard deviations there: (N,)."""
        away = torch.linalg.solve_triangular(self.lower, (points - self.mode).T, upper=False)
        distance: Tensor = away.norm(dim=0)
        return distance


def laplace(
    target: LogDensity,
    size: int,
    *,
    starts: int = 8,
    scale: float = 1.0,
    seed: int = 0,
    over: Callable[[], bool] = lambda: False,
) -> list[Laplace]:
    """Climb log p̃ (B, D) -> (B,) from near 0 and points of N(0, scale²), and fit a Gaussian to every maximum found.

    From `starts` points, and about as many from 3, 10 and 30 times as far, for modes outside; where these end in several
    places the climbing goes on until hardly any of them is new, or there are too many to find them all (`all_found`).
    L-BFGS (scipy), Hessians by central differences of gradients in one batch of 2 D points; in float64. The largest of
    the first round come first; ends within a standard deviation per dimension of another one are the same. Empty when
    nothing is finite. Ends with what there is once `over()` is true.
    """
    generator = torch.Generator().manual_seed(seed)
    found: list[Laplace] = []
    count, more = 0, starts
    while more > 0 and len(found) <= MOST_MODES and not over():
        first = scale * torch.randn(more, size, generator=generator, dtype=torch.float64)
        if not count:
            first[0] *= NUDGE  # 0 itself is a saddle of whatever is symmetric
            first = torch.cat([first, *(far * first[1::3] for far in FAR_OUT)])
        places = [place for place in (_climb(target, u, over) for u in first) if place is not None]
        for mode, height in sorted(places, key=lambda place: -place[1]):
            _note(found, target, mode, height)
        count += len(first)
        found = [m for m in found if m.proper] or found  # saddles, once there is a maximum
        more = 0 if len(found) < 2 or all_found(found) else min(count, MOST_STARTS - count)
    return found


def all_found(maxima: list[Laplace]) -> bool:
    """Is the chance small that another climb ends in a new place? By Good and Turing it is the share of places seen once.

    >>> some = [Laplace(torch.zeros(1), torch.eye(1), 0.0, True, hits=hits) for hits in (7, 4)]
    >>> all_found(some), all_found([*some, *(Laplace(torch.zeros(1), torch.eye(1), 0.0, True),) * 2])
    (True, False)
    """
    return sum(m.hits == 1 for m in maxima) <= UNSEEN * sum(m.hits for m in maxima)


def _note(found: list[Laplace], target: LogDensity, mode: Tensor, height: float) -> None:
    """Count the end of a climb, with a Gaussian where it is a new one."""
    for i, other in enumerate(found):
        if float(other.distance(mode[None])) <= math.sqrt(len(mode)):
            found[i] = replace(other, hits=other.hits + 1)
            return
    lower, proper = _spread(target, mode)
    log_z = height + 0.5 * len(mode) * math.log(2 * math.pi) + lower.diagonal().log().sum().item()
    found.append(Laplace(mode, lower, log_z, proper))


class _Over(Exception):
    """Raised from within a climb to end it."""


def _climb(target: LogDensity, start: Tensor, over: Callable[[], bool]) -> tuple[Tensor, float] | None:
    from scipy.optimize import minimize

    def fall(u: np.ndarray) -> tuple[float, np.ndarray]:
        if over():
            raise _Over
        point = torch.from_numpy(u).requires_grad_()
        value = target(point[None]).sum()
        (slope,) = grad(value, point)
        return (-value.item(), -slope.numpy()) if math.isfinite(value.item()) else (FAR, np.zeros_like(u))

    try:
        result = minimize(fall, start.numpy(), jac=True, method="L-BFGS-B", options={"maxiter": 500, "maxcor": 20})
    except _Over:
        return None
    return (torch.from_numpy(result.x), -float(result.fun)) if result.fun < FAR and np.isfinite(result.x).all() else None


def _spread(target: LogDensity, mode: Tensor, step: float = 1e-3) -> tuple[Tensor, bool]:
    """Cholesky factor of the covariance; curvatures that are not positive are replaced."""
    offsets = step * torch.eye(len(mode), dtype=mode.dtype)
    points = torch.cat([mode + offsets, mode - offsets]).requires_grad_()
    (slopes,) = grad(target(points).sum(), points)
    up, down = slopes.chunk(2)
    hessian = (down - up) / (2 * step)
    values, vectors = torch.linalg.eigh(0.5 * (hessian + hessian.T))
    proper = bool((values > 1e-6 * values.abs().max()).all())
    variances = 1 / values.clamp_min(WIDEST**-2)
    return torch.linalg.cholesky((vectors * variances) @ vectors.T), proper
