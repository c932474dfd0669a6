"""Tempered sequential Monte Carlo: draws of a density and its log Z from a wide start, without a
flow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...core.numerics import covariance_of
from ...core.streams import Stream, generator_for
from ..chains.hmc import leapfrog, metropolis
from ..target.density import LogDensity, State, choose, evaluate
from ..weights.tempering import largest_rise

__all__ = ["Populations", "Reference", "tempered_smc"]

EVEN = 0.6  # effective sample size after a rise of the temperature, as a share of the population
MOVES = 3  # Hamiltonian trajectories at each temperature
LAST_MOVES = 6  # at the last one
LEAPFROGS = 5
WANTED = 0.75  # share of accepted trajectories
SHORTEST = 0.05  # of the step size: particles take steps of random size, for modes of unequal width
MOST_LEVELS = 1_000
ROUNDS = 40  # of bisection, at most
TOLERANCE = 0.01  # of the rise of the temperature
MANY = 50  # particles a dimension, from which their covariance is taken as it is
INSIDE_TRIES = 200  # rounds of draws to find points of positive density


@dataclass(frozen=True)
class Reference:
    """N(mean, L Lᵀ), the distribution that tempering starts from: mean (D,), L (D, D) lower
    triangular, in float64.
    """

    mean: Tensor
    lower: Tensor

    def points(self, v: Tensor) -> Tensor:
        """Standard normal coordinates (..., D) -> points (..., D)."""
        return self.mean + v @ self.lower.T

    @property
    def log_det(self) -> float:
        """log|L|."""
        return float(self.lower.diagonal().abs().log().sum())


@dataclass(frozen=True)
class Populations:
    """Independent populations of particles, each with its own estimate of log Z."""

    particles: Tensor
    """(R, N, D), equally weighted draws of the target."""
    log_z: Tensor
    """(R,), nats: unbiased estimates of Z, in logarithms."""
    ancestors: Tensor
    """(R, N): the index of the first particle of its population that each one descends from."""
    levels: int
    """Temperatures on the way."""
    complete: bool
    """False when it was stopped, or a population died out."""

    @property
    def lineages(self) -> int:
        """Number of first particles that have descendants: how many independent draws these are
        worth at least.
        """
        return sum(len(row.unique()) for row in self.ancestors)

    def estimate(self) -> tuple[float, float]:
        """log of the mean of the populations' Z, and its standard error: of their spread and
        1/√lineages.
        """
        count = len(self.log_z)
        relative = (self.log_z - self.log_z.max()).exp()
        value = float(self.log_z.max() + relative.mean().log())
        spread = float(relative.std() / relative.mean()) / math.sqrt(count) if count > 1 else 1.0
        return value, math.hypot(spread, 1 / math.sqrt(max(1, self.lineages)))

    def split(self) -> tuple[Populations, Populations]:
        """The first half of the populations and the second."""
        half = len(self.log_z) // 2
        first, second = (
            replace(
                self,
                particles=self.particles[rows],
                log_z=self.log_z[rows],
                ancestors=self.ancestors[rows],
            )
            for rows in (slice(None, half), slice(half, None))
        )
        return first, second


def tempered_smc(
    target: LogDensity,
    reference: Reference,
    *,
    populations: int = 4,
    particles: int = 1024,
    seed: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
) -> Populations:
    """Draws of p = p̃ / Z and log Z by way of p_β ∝ N(u; m, L Lᵀ)^(1−β) p̃(u)^β, β rising from 0 to
    1.

    `target`, log p̃, takes points (B, D) and returns (B,). β rises so far that the weights (p̃ /
    N)^Δβ keep an effective sample size of 60 %; the populations are resampled, each by itself, and
    moved by Hamiltonian Monte Carlo with the particles' covariance for a mass. Nothing is learnt
    but those scales, so what it finds depends on the target and the `reference` alone: that should
    be wider than the target in every direction. Z has no bias however short the moves are, its
    error is that of the populations' spread. It ends early once `should_stop()` is true. Del Moral,
    Doucet & Jasra 2006, doi:10.1111/j.1467-9868.2006.00553.x.

    >>> import torch
    >>> normal = lambda u, mean: -0.5 * (u - mean).square().sum(1)
    >>> far = lambda u: torch.logaddexp(normal(u, 6), normal(u, -6))  # Z = 4π
    >>> wide = Reference(torch.zeros(2).double(), 10 * torch.eye(2).double())
    >>> value, error = tempered_smc(far, wide, particles=256).estimate()
    >>> abs(value - math.log(4 * math.pi)) < 4 * error
    True
    """
    sampler = _Sampler(
        target,
        reference,
        populations=populations,
        particles=particles,
        generator=generator_for(seed, Stream.PARTICLES),
    )
    complete = sampler.run(should_stop)
    points = reference.points(sampler.state.z).view(populations, particles, -1)
    return Populations(
        particles=points,
        log_z=sampler.log_z,
        ancestors=sampler.ancestors,
        levels=sampler.levels,
        complete=complete,
    )


class _Sampler:
    """All particles of all populations, (R N, D) in coordinates where the reference is N(0, I)."""

    def __init__(
        self,
        target: LogDensity,
        reference: Reference,
        *,
        populations: int,
        particles: int,
        generator: torch.Generator,
    ) -> None:
        self.target = target
        self.reference = reference
        self.generator = generator
        self.log_det = reference.log_det
        self.populations = populations
        self.particles = particles
        self.size = len(reference.mean)
        self.beta = 0.0
        self.levels = 0
        self.step = self.size**-0.25
        self.log_z = torch.zeros(populations, dtype=torch.float64)
        self.ancestors = torch.arange(particles).repeat(populations, 1)
        self.state = self._evaluate(self._normal())

    def run(self, should_stop: Callable[[], bool]) -> bool:
        """Raise β to 1; False when it was stopped, or a population has no particle of positive
        density.
        """
        if not self._enter(should_stop):
            return False
        while self.beta < 1:
            if should_stop() or self.levels >= MOST_LEVELS:
                return False
            self._rise()
            moves = MOVES if self.beta < 1 else LAST_MOVES
            lower = self._spread()
            for _ in range(moves):
                self._move(lower)
        return True

    def _enter(self, should_stop: Callable[[], bool]) -> bool:
        """Particles of zero density are replaced by draws of the reference where it is positive, at
        the cost in Z.
        """
        inside = self._inside(self.state)
        tried = torch.full_like(self.log_z, float(self.particles))
        hit = inside.double().sum(1)
        for _ in range(INSIDE_TRIES):
            if bool(inside.all()) or should_stop():
                break
            fresh = self._evaluate(self._normal())
            tried += self.particles
            hit += self._inside(fresh).double().sum(1)
            self._replace(fresh)
            inside = self._inside(self.state)
        self.log_z += (hit / tried).log()
        return bool(inside.all())

    def _inside(self, state: State) -> Tensor:
        """Which particles have positive density, (R, N)."""
        return (state.log_p > -math.inf).view(self.populations, -1)

    def _replace(self, fresh: State) -> None:
        """Put good fresh points of a population in place of those of zero density, as far as
        they go.
        """
        numbers = torch.arange(len(fresh.z)).view(self.populations, -1)
        for rows, inside, good in zip(
            numbers, self._inside(self.state), self._inside(fresh), strict=True
        ):
            outside = rows[~inside]
            points = rows[good]
            count = min(len(outside), len(points))
            for old, new in zip(self.state, fresh, strict=True):
                old[outside[:count]] = new[points[:count]]

    def _rise(self) -> None:
        """The next temperature, and resampling by the weights it gives."""
        log_ratio = (self.state.log_p - self._log_reference(self.state.z)).view(
            self.populations, -1
        )
        rise = _largest_rise(log_ratio, 1 - self.beta)
        self.beta = 1.0 if rise >= 1 - self.beta else self.beta + rise
        self.levels += 1
        log_w = rise * log_ratio
        self.log_z += log_w.logsumexp(1) - math.log(self.particles)
        chosen = _systematic(log_w, self.generator)
        self.ancestors = self.ancestors.gather(1, chosen)
        flat = (chosen + self.particles * torch.arange(self.populations)[:, None]).flatten()
        self.state = State(*(part[flat] for part in self.state))

    def _spread(self) -> Tensor:
        """Cholesky factor of the particles' covariance, drawn towards its diagonal where there are
        few for so many entries.
        """
        covariance = covariance_of(self.state.z)
        rows = len(self.state.z)
        shrink = self.size / (self.size + rows) if rows < MANY * self.size else 0.0
        diagonal = covariance.diagonal().clamp_min(1e-300)
        covariance = (1 - shrink) * covariance + (shrink * diagonal + 1e-12 * diagonal).diag()
        lower, failed = torch.linalg.cholesky_ex(covariance)
        return diagonal.sqrt().diag() if bool(failed) else lower

    def _move(self, lower: Tensor) -> None:
        """One Hamiltonian trajectory for each particle, with steps of random size."""
        state = self.state
        factor = SHORTEST ** torch.rand(
            len(state.z), 1, generator=self.generator, dtype=torch.float64
        )
        step = self.step * factor
        momentum = self._normal()
        end, last, sound = leapfrog(
            self._evaluate,
            state,
            momentum,
            step=step,
            count=LEAPFROGS,
            force=self._force,
            scale=lower,
        )
        gain = self._tempered(end) - self._tempered(state)
        gain = gain - 0.5 * (last.square() - momentum.square()).sum(1)
        accepted, probability = metropolis(torch.where(sound, gain, -math.inf), self.generator)
        self.state = choose(accepted, end, state)
        self.step *= math.exp(float(probability.mean()) - WANTED)

    def _tempered(self, state: State) -> Tensor:
        return self.beta * state.log_p + (1 - self.beta) * self._log_reference(state.z)

    def _force(self, state: State) -> Tensor:
        return self.beta * state.grad - (1 - self.beta) * state.z

    def _log_reference(self, v: Tensor) -> Tensor:
        return -0.5 * v.square().sum(1) - 0.5 * self.size * math.log(2 * math.pi)

    def _normal(self) -> Tensor:
        rows = self.populations * self.particles
        return torch.randn(rows, self.size, generator=self.generator, dtype=torch.float64)

    def _evaluate(self, v: Tensor) -> State:
        """log p̃(u) + log|L| and its gradient, in the reference's coordinates."""
        return evaluate(lambda v: self.target(self.reference.points(v)).double() + self.log_det, v)


def _largest_rise(log_ratio: Tensor, most: float) -> float:
    """The largest δ ≤ `most` for which weights exp(δ · log_ratio) are even enough in every
    population (R, N).
    """
    low, high = largest_rise(
        log_ratio,
        most,
        share=EVEN,
        midpoint=_geometric_mean,
        rounds=ROUNDS,
        tolerance=TOLERANCE,
    )
    return low if low > 0 else high


def _geometric_mean(low: float, high: float) -> float:
    return math.sqrt(low * high) if low > 0 else 1e-3 * high


def _systematic(log_w: Tensor, generator: torch.Generator) -> Tensor:
    """Indices (R, N) resampled with N evenly spaced points in each population."""
    populations, count = log_w.shape
    cumulative = log_w.softmax(1).cumsum(1)
    start = torch.rand(populations, 1, generator=generator, dtype=torch.float64)
    points = (start + torch.arange(count, dtype=torch.float64)) / count
    return torch.searchsorted(cumulative, points * cumulative[:, -1:]).clamp_max(count - 1)
