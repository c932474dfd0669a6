"""Laplace's approximation: where to begin."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.autograd import grad

__all__ = ["Laplace", "laplace"]

LogDensity = Callable[[Tensor], Tensor]
FAR = 1e30  # the value of −log p̃ where p̃ = 0, so that a line search turns back
WIDEST = 1e4  # standard deviation along directions that the density does not bend in


@dataclass(frozen=True)
class Laplace:
    """N(mode, L Lᵀ) with L Lᵀ the inverse of −∂² log p̃ at the mode, and log Z = log p̃(mode) + ½ D log 2π + log|L|."""

    mode: Tensor
    lower: Tensor
    log_z: float
    proper: bool
    """False when log p̃ does not bend down in every direction there: no maximum, or a flat one."""

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Points (count, D)."""
        noise = torch.randn(count, len(self.mode), generator=generator, dtype=self.mode.dtype)
        return self.mode + noise @ self.lower.T


def laplace(target: LogDensity, size: int, *, starts: int = 8, scale: float = 1.0, seed: int = 0) -> list[Laplace]:
    """Climb log p̃ (B, D) -> (B,) from 0 and points of N(0, scale²), and fit a Gaussian to every maximum found.

    L-BFGS (scipy), Hessians by central differences of gradients in one batch of 2 D points; in float64. The largest
    first; maxima within a standard deviation per dimension of a larger one are left out. Empty when nothing is finite.
    """
    generator = torch.Generator().manual_seed(seed)
    first = scale * torch.randn(starts, size, generator=generator, dtype=torch.float64)
    first[0] = 0.0
    found = [place for place in (_climb(target, u) for u in first) if place is not None]
    kept: list[Laplace] = []
    for mode, height in sorted(found, key=lambda place: -place[1]):
        if all(_distance(mode, other) > math.sqrt(size) for other in kept):
            lower, proper = _spread(target, mode)
            log_z = height + 0.5 * size * math.log(2 * math.pi) + lower.diagonal().log().sum().item()
            kept.append(Laplace(mode, lower, log_z, proper))
    return kept


def _distance(mode: Tensor, other: Laplace) -> float:
    """In standard deviations of the other."""
    return float(torch.linalg.solve_triangular(other.lower, (mode - other.mode)[:, None], upper=False).norm())


def _climb(target: LogDensity, start: Tensor) -> tuple[Tensor, float] | None:
    from scipy.optimize import minimize

    def fall(u: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.from_numpy(u).requires_grad_()
        value = target(point[None]).sum()
        (slope,) = grad(value, point)
        return (-value.item(), -slope.numpy()) if math.isfinite(value.item()) else (FAR, np.zeros_like(u))

    result = minimize(fall, start.numpy(), jac=True, method="L-BFGS-B", options={"maxiter": 500, "maxcor": 20})
    return (torch.from_numpy(result.x), -float(result.fun)) if result.fun < FAR and np.isfinite(result.x).all() else None


def _spread(target: LogDensity, mode: Tensor, step: float = 1e-4) -> tuple[Tensor, bool]:
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
