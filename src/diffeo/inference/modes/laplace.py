"""Laplace's approximation at maxima: where to begin, and how wide the target is there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd import grad

from ..target.density import LogDensity

__all__ = ["Laplace", "all_found", "climb_from", "factor_of", "laplace"]

FAR = 1e30  # the value of −log p̃ where p̃ = 0, so that a line search turns back
# chance that another climb ends at a new maximum, below which all count as known: basins differ in
# size
UNSEEN = 0.005
# beyond them there are too many maxima to find
MOST_STARTS = 200
MOST_MODES = 100
WIDTHS = (1.0, 3.0, 10.0, 30.0)  # times the scale: where climbs start
NUDGE = 0.01  # of the scale
MOST_CALLS = 400  # of the log density in one climb by L-BFGS
NEWTON = 30  # steps that polish a maximum
STATIONARY = 0.1  # nats that another Newton step would gain, above which a point is no maximum
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
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Laplace]:
    """Climb log p̃ (B, D) -> (B,) from near 0 and points of N(0, scale²), and fit a Gaussian to
    every maximum found.

    From `starts` points, and as many from 3, 10 and 30 times as far, for modes outside; where these
    end in several places the climbing goes on, from all four distances, until hardly any of them is
    new, or there are too many to find them all (`all_found`). L-BFGS (scipy), then Newton's method
    with exact Hessians; in float64. The largest of the first round come first; ends within a
    standard deviation per dimension of another one are the same. Empty when nothing is finite. Ends
    with what there is once `should_stop()` is true.
    """
    generator = torch.Generator().manual_seed(seed)
    maxima: list[Laplace] = []
    count = 0
    more = len(WIDTHS) * starts
    while more > 0 and len(maxima) <= MOST_MODES and not should_stop():
        width = torch.tensor(WIDTHS, dtype=torch.float64)[torch.arange(more) % len(WIDTHS), None]
        first = scale * width * torch.randn(more, size, generator=generator, dtype=torch.float64)
        if not count:
            first[0] *= NUDGE  # 0 itself is a saddle of whatever is symmetric
        climb_from(maxima, target, first, should_stop=should_stop)
        count += len(first)
        complete = len(maxima) < 2 or all_found(maxima)
        more = 0 if complete else min(count, MOST_STARTS - count)
    return maxima


def climb_from(
    maxima: list[Laplace],
    target: LogDensity,
    starts: Tensor,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Climb from points (B, D) and add the maxima they end in to `maxima`; returns how many are
    new.
    """
    before = len(maxima)
    climbs = (_climb(target, u, should_stop) for u in starts)
    ends = [end for end in climbs if end is not None]
    for end in sorted(ends, key=lambda end: -end.height):
        _add(maxima, target, end)
    # no saddles, once there is a maximum
    maxima[:] = [m for m in maxima if m.proper] or maxima
    return max(0, len(maxima) - before)


def all_found(maxima: list[Laplace]) -> bool:
    """Is the chance small that another climb ends in a new place? By Good and Turing it is the
    share of places seen once.

    >>> some = [Laplace(torch.zeros(1), torch.eye(1), 0.0, True, hits=hits) for hits in (7, 4)]
    >>> again = Laplace(torch.zeros(1), torch.eye(1), 0.0, True)
    >>> all_found(some), all_found([*some, again, again])
    (True, False)
    """
    return sum(m.hits == 1 for m in maxima) <= UNSEEN * sum(m.hits for m in maxima)


class _Top(NamedTuple):
    """Where a climb ended, (D,), and log p̃ there."""

    mode: Tensor
    height: float


def _add(maxima: list[Laplace], target: LogDensity, top: _Top) -> None:
    """Count the end of a climb, with a Gaussian where it is a new one."""
    for i, other in enumerate(maxima):
        if float(other.distance(top.mode[None])) <= math.sqrt(len(top.mode)):
            maxima[i] = replace(other, hits=other.hits + 1)
            return
    lower, proper = _gaussian(target, top)
    peak = top.height + 0.5 * len(top.mode) * math.log(2 * math.pi)
    fit = Laplace(top.mode, lower, peak, proper)
    maxima.append(replace(fit, log_z=peak + fit.log_volume))


class _Stopped(Exception):
    """Raised from within a climb to end it."""


def _climb(target: LogDensity, start: Tensor, should_stop: Callable[[], bool]) -> _Top | None:
    """The maximum that L-BFGS and then Newton's method reach from `start` (D,)."""
    from scipy.optimize import minimize

    def fall(u: np.ndarray) -> tuple[float, np.ndarray]:
        if should_stop():
            raise _Stopped
        point = torch.from_numpy(u).requires_grad_()
        value = target(point[None]).sum()
        (slope,) = grad(value, point)
        if not math.isfinite(value.item()):
            return FAR, np.zeros_like(u)
        return -value.item(), -slope.numpy()

    try:
        options = {"maxfun": MOST_CALLS, "maxcor": 20}
        result = minimize(fall, start.numpy(), jac=True, method="L-BFGS-B", options=options)
    except _Stopped:
        return None
    if result.fun >= FAR or not np.isfinite(result.x).all():
        return None
    top = _Top(torch.from_numpy(result.x), -float(result.fun))
    return _polish(target, top, should_stop)


def _polish(target: LogDensity, top: _Top, should_stop: Callable[[], bool]) -> _Top:
    """Newton's method, halving steps that do not go up: for coordinates of very unlike scales,
    where L-BFGS stands still.
    """
    u, height = top
    for _ in range(NEWTON):
        if should_stop():
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
        u = trial[best]
        height = float(heights[best])
        if gain < 1e-9 * (1 + abs(height)):
            break
    return _Top(u, height)


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


def _gaussian(target: LogDensity, top: _Top) -> tuple[Tensor, bool]:
    """Cholesky factor of the covariance, and whether log p̃ falls by it as it should in every
    direction.

    Along every principal direction the standard deviation is where log p̃ has fallen by half a nat,
    unless the curvature says about the same: a flat top, an edge and a ridge that bends have no
    curvature that says how wide they are.
    """
    slope, hessian = _curvature(target, top.mode)
    values, vectors, unit = _eigen(hessian)
    climbing = vectors.T @ (unit * slope)
    stationary = True
    if bool(values.any()):
        bent = values.abs().clamp_min(FLAT * values.abs().max())
        stationary = float((climbing.square() / bent).sum()) < 2 * STATIONARY
    directions = (unit[:, None] * vectors).T
    by_curvature = torch.where(values > FLAT * values.abs().max(), values, 0.0).rsqrt()
    by_fall = _falls(target, top, directions, guess=by_curvature)
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
def _falls(target: LogDensity, top: _Top, directions: Tensor, *, guess: Tensor) -> Tensor:
    """How far (D,) one goes along each direction (D, D), on average of both ways, until log p̃ has
    fallen by `DROP`.
    """
    low = torch.full_like(guess, 1e-12).log()
    high = torch.full_like(guess, WIDEST).log()
    middle = guess.nan_to_num(nan=1.0, posinf=1.0).clamp(1e-12, WIDEST).log()
    for _ in range(BISECTIONS):
        moves = middle.exp()[:, None] * directions
        points = torch.cat([top.mode + moves, top.mode - moves])
        fall = top.height - target(points).double()
        mean = fall.clamp(-FAR, FAR).view(2, -1).mean(0)
        low = torch.where(mean < DROP, middle, low)
        high = torch.where(mean < DROP, high, middle)
        middle = 0.5 * (low + high)
        if float((high - low).max()) < 0.1:
            break
    return middle.exp()
