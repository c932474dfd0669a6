"""Laplace's approximation at maxima: where to begin, and how wide the target is there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.autograd import grad

from ..chains.hmc import LogDensity

__all__ = ["Laplace", "all_found", "climb_from", "factor_of", "laplace"]

FAR = 1e30  # the value of −log p̃ where p̃ = 0, so that a line search turns back
# chance that another climb ends in a new place, below which all are taken for found: basins differ
# in size
UNSEEN = 0.005
MOST_STARTS, MOST_MODES = 200, 100  # beyond them there are too many maxima to find
WIDTHS = (1.0, 3.0, 10.0, 30.0)  # times the scale: where climbs start
NUDGE = 0.01  # of the scale
MOST_CALLS = 400  # of the log density in one climb by L-BFGS
NEWTON = 30  # steps that polish a maximum
STATIONARY = 0.1  # nats that another Newton step would gain, above which a place is no maximum
HALVINGS = 12  # of a Newton step that does not go up
# curvature, as a share of the largest once every coordinate has unit curvature, that counts as none
FLAT = 1e-11
# standard deviation along directions that the density does not bend in, in units of the coordinates
WIDEST = 1e9
DROP = 0.5  # nats that a normal density falls within a standard deviation
BISECTIONS = 60
# ratio of two standard deviations, by curvature and by how far log p̃ falls, beyond which it is no
# normal
UNLIKE = 4.0


@dataclass(frozen=True)
class Laplace:
    """N(mode, L Lᵀ) with L Lᵀ the inverse of −∂² log p̃ at the mode, and log Z = log p̃(mode) + ½ D
    log 2π + log|L|.
    """

    mode: Tensor
    lower: Tensor
    log_z: float
    proper: bool
    """False when log p̃ does not fall in every direction there as a normal density does: no
    maximum, or a flat one.
    """
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

    def log_density(self, points: Tensor) -> Tensor:
        """log Z + log N(u; mode, L Lᵀ) at points (N, D): (N,)."""
        height = self.log_z - self.log_volume - 0.5 * len(self.mode) * math.log(2 * math.pi)
        return height - 0.5 * self.distance(points).square()

    @property
    def log_volume(self) -> float:
        """log|L|."""
        return float(self.lower.diagonal().log().sum())


def laplace(
    target: LogDensity,
    size: int,
    *,
    starts: int = 8,
    scale: float = 1.0,
    seed: int = 0,
    over: Callable[[], bool] = lambda: False,
) -> list[Laplace]:
    """Climb log p̃ (B, D) -> (B,) from near 0 and points of N(0, scale²), and fit a Gaussian to
    every maximum found.

    From `starts` points, and as many from 3, 10 and 30 times as far, for modes outside; where these
    end in several places the climbing goes on, from all four distances, until hardly any of them is
    new, or there are too many to find them all (`all_found`). L-BFGS (scipy), then Newton's method
    with exact Hessians; in float64. The largest of the first round come first; ends within a
    standard deviation per dimension of another one are the same. Empty when nothing is finite. Ends
    with what there is once `over()` is true.
    """
    generator = torch.Generator().manual_seed(seed)
    found: list[Laplace] = []
    count, more = 0, len(WIDTHS) * starts
    while more > 0 and len(found) <= MOST_MODES and not over():
        width = torch.tensor(WIDTHS, dtype=torch.float64)[torch.arange(more) % len(WIDTHS), None]
        first = scale * width * torch.randn(more, size, generator=generator, dtype=torch.float64)
        if not count:
            first[0] *= NUDGE  # 0 itself is a saddle of whatever is symmetric
        climb_from(found, target, first, over)
        count += len(first)
        more = 0 if len(found) < 2 or all_found(found) else min(count, MOST_STARTS - count)
    return found


def climb_from(
    found: list[Laplace],
    target: LogDensity,
    starts: Tensor,
    over: Callable[[], bool] = lambda: False,
) -> int:
    """Climb from points (B, D) and add the maxima they end in to `found`; returns how many of these
    are new.
    """
    before = len(found)
    places = [place for place in (_climb(target, u, over) for u in starts) if place is not None]
    for mode, height in sorted(places, key=lambda place: -place[1]):
        _note(found, target, mode, height)
    found[:] = [m for m in found if m.proper] or found  # saddles, once there is a maximum
    return max(0, len(found) - before)


def all_found(maxima: list[Laplace]) -> bool:
    """Is the chance small that another climb ends in a new place? By Good and Turing it is the
    share of places seen once.

    >>> some = [Laplace(torch.zeros(1), torch.eye(1), 0.0, True, hits=hits) for hits in (7, 4)]
    >>> again = Laplace(torch.zeros(1), torch.eye(1), 0.0, True)
    >>> all_found(some), all_found([*some, again, again])
    (True, False)
    """
    return sum(m.hits == 1 for m in maxima) <= UNSEEN * sum(m.hits for m in maxima)


def _note(found: list[Laplace], target: LogDensity, mode: Tensor, height: float) -> None:
    """Count the end of a climb, with a Gaussian where it is a new one."""
    for i, other in enumerate(found):
        if float(other.distance(mode[None])) <= math.sqrt(len(mode)):
            found[i] = replace(other, hits=other.hits + 1)
            return
    lower, proper = _gaussian(target, mode, height)
    log_z = height + 0.5 * len(mode) * math.log(2 * math.pi) + lower.diagonal().log().sum().item()
    found.append(Laplace(mode, lower, log_z, proper))


class _Over(Exception):
    """Raised from within a climb to end it."""


def _climb(
    target: LogDensity, start: Tensor, over: Callable[[], bool]
) -> tuple[Tensor, float] | None:
    """The maximum (D,) that L-BFGS and then Newton's method reach from `start` (D,), and log p̃
    there.
    """
    from scipy.optimize import minimize

    def fall(u: np.ndarray) -> tuple[float, np.ndarray]:
        if over():
            raise _Over
        point = torch.from_numpy(u).requires_grad_()
        value = target(point[None]).sum()
        (slope,) = grad(value, point)
        return (
            (-value.item(), -slope.numpy())
            if math.isfinite(value.item())
            else (FAR, np.zeros_like(u))
        )

    try:
        options = {"maxfun": MOST_CALLS, "maxcor": 20}
        result = minimize(fall, start.numpy(), jac=True, method="L-BFGS-B", options=options)
    except _Over:
        return None
    if result.fun >= FAR or not np.isfinite(result.x).all():
        return None
    return _polish(target, torch.from_numpy(result.x), -float(result.fun), over)


def _polish(
    target: LogDensity, u: Tensor, height: float, over: Callable[[], bool]
) -> tuple[Tensor, float]:
    """Newton's method, halving steps that do not go up: for coordinates of very unlike scales,
    where L-BFGS stands still.
    """
    for _ in range(NEWTON):
        if over():
            break
        slope, hessian = _curvature(target, u)
        values, vectors, unit = _eigen(hessian)
        if not bool(values.any()):
            break
        # Directions that bend up are climbed as if they bent down as much.
        step = unit * (
            vectors
            @ ((vectors.T @ (unit * slope)) / values.abs().clamp_min(FLAT * values.abs().max()))
        )
        factors = 0.5 ** torch.arange(HALVINGS, dtype=u.dtype)
        trial = u + factors[:, None] * step
        with torch.no_grad():
            heights = target(trial).double()
        best = int(heights.argmax())
        gain = float(heights[best]) - height
        if not gain > 0:
            break
        u, height = trial[best], float(heights[best])
        if gain < 1e-9 * (1 + abs(height)):
            break
    return u, height


def _curvature(target: LogDensity, u: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient (D,) and −∂² log p̃ (D, D): exact where the log density can be differentiated
    twice.
    """
    rows = u.repeat(len(u), 1).requires_grad_()
    try:
        with torch.enable_grad():
            (slopes,) = grad(target(rows).sum(), rows, create_graph=True)
            (hessian,) = grad(slopes.diagonal().sum(), rows)
    except RuntimeError:  # of a constant slope, or an operation without a second derivative
        slopes, hessian = _differences(target, u)
    hessian = hessian.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    return slopes[0].detach(), -0.5 * (hessian + hessian.T)


def _differences(target: LogDensity, u: Tensor, step: float = 1e-3) -> tuple[Tensor, Tensor]:
    offsets = step * u.abs().clamp_min(1.0).diag()
    points = torch.cat([u + offsets, u - offsets, u[None]]).requires_grad_()
    (slopes,) = grad(target(points).sum(), points)
    up, down, here = slopes.split([len(u), len(u), 1])
    return here, (up - down) / (2 * offsets.diagonal()[:, None])


def _eigen(hessian: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvalues and vectors of S H S, S the diagonal (D,) that gives every coordinate unit
    curvature; and S.
    """
    diagonal = hessian.diagonal().abs()
    unit = diagonal.clamp_min(WIDEST**-2).rsqrt()
    values, vectors = torch.linalg.eigh(unit[:, None] * hessian * unit)
    return values, vectors, unit


def _gaussian(target: LogDensity, mode: Tensor, height: float) -> tuple[Tensor, bool]:
    """Cholesky factor of the covariance, and whether log p̃ falls by it as it should in every
    direction.

    Along every principal direction the standard deviation is where log p̃ has fallen by half a nat,
    unless the curvature says about the same: a flat top, an edge and a ridge that bends have no
    curvature that says how wide they are.
    """
    slope, hessian = _curvature(target, mode)
    values, vectors, unit = _eigen(hessian)
    climbing = vectors.T @ (unit * slope)
    flat = not bool(values.any())
    stationary = (
        flat
        or float((climbing.square() / values.abs().clamp_min(FLAT * values.abs().max())).sum())
        < 2 * STATIONARY
    )
    directions = (unit[:, None] * vectors).T
    by_curvature = torch.where(values > FLAT * values.abs().max(), values, 0.0).rsqrt()
    by_fall = _falls(target, mode, height, directions, by_curvature)
    alike = (by_curvature / by_fall).log().abs() < math.log(UNLIKE)
    sd = torch.where(alike, by_curvature, by_fall)
    return factor_of(sd[:, None] * directions), stationary and bool(alike.all())


def factor_of(rows: Tensor) -> Tensor:
    """The lower triangular L (D, D) with L Lᵀ = Aᵀ A of rows A (D, D), without squaring their
    scales.
    """
    lower = torch.linalg.qr(rows)[1].T
    factor: Tensor = lower * lower.diagonal().sign()
    return factor


@torch.no_grad()
def _falls(
    target: LogDensity, mode: Tensor, height: float, directions: Tensor, guess: Tensor
) -> Tensor:
    """How far (D,) one goes along each direction (D, D), on average of both ways, until log p̃ has
    fallen by `DROP`.
    """
    low = torch.full_like(guess, 1e-12).log()
    high = torch.full_like(guess, WIDEST).log()
    middle = guess.nan_to_num(nan=1.0, posinf=1.0).clamp(1e-12, WIDEST).log()
    for _ in range(BISECTIONS):
        moves = middle.exp()[:, None] * directions
        fall = height - target(torch.cat([mode + moves, mode - moves])).double()
        mean = fall.clamp(-FAR, FAR).view(2, -1).mean(0)
        low, high = torch.where(mean < DROP, middle, low), torch.where(mean < DROP, high, middle)
        middle = 0.5 * (low + high)
        if float((high - low).max()) < 0.1:
            break
    return middle.exp()
