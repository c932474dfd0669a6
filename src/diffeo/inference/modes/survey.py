"""What is known of a target before any flow: its maxima, and particles of tempered Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.numerics import covariance_of
from ...core.streams import Stream, mix
from ..target.density import LogDensity
from .laplace import MOST_MODES, Laplace, climb_from, factor_of
from .mixture import moments
from .smc import Populations, Reference, tempered_smc
from .unexplained import climb_where_unexplained

__all__ = ["Survey", "agreement", "survey"]

WIDER = 2.0  # the reference's standard deviations over those of what is known of the target
RADIUS = 30.0  # times the scale: how far from 0 the reference reaches besides, as a rule
LEAST_SD = 3.0  # times the scale: its standard deviation around 0, at least
LEAST_AROUND = 0.2  # share of that spread in the reference, beside the maxima
NARROW = 0.8  # standard deviation of particles, in the reference's, above which it was too narrow
NARROWER = 3.0  # where hardly a draw of the reference has a positive density
ROUNDS = 4  # of tempering, with a reference that has become wider
CLIMBS = 96  # from particles that no maximum accounts for, at most
BATCH = 12  # of them at once
NEAR = 4.0  # standard deviations beyond √D within which a maximum accounts for a particle
APART = 4.0  # standard errors between two values of log Z that do not agree
NOISY = 0.5  # nats: a standard error of the populations' log Z that vouches for nothing
FEW = 10  # coordinates up to which narrow modes are met wherever they are
UNLIKE = 4.0  # nats between the widths of maxima beyond which narrower ones may hide
SLIGHT = 10.0  # nats below the largest: maxima of so little mass do not count
# nats that the populations' log Z may lie below a flow's: they have met half of the mass
SEEN = math.log(2)


@dataclass
class Survey:
    """The maxima, populations of particles, and how far the maxima describe these. Half of the
    populations are held out.
    """

    maxima: list[Laplace]
    reference: Reference
    """What tempering starts from."""
    seed: int = 0
    whole: Populations | None = None
    """All particles."""
    described: float = 0.0
    """Share of the particles seen that lie where a maximum's Gaussian has its mass."""
    rounds: int = 0
    """How often populations were made."""

    @property
    def complete(self) -> bool:
        """Did the tempering come to its end?"""
        return self.whole is not None and self.whole.complete

    @property
    def missed(self) -> bool:
        """Did too few draws of the reference have a positive density to begin with?"""
        return self.whole is not None and not self.whole.levels

    @property
    def lineages(self) -> int:
        """How many independent draws all particles are worth at least."""
        return self._populations.lineages

    @property
    def held_out(self) -> Populations:
        """The populations that no flow learns from: what the verdict compares a flow with."""
        return self._populations.split()[1]

    def estimate(self) -> tuple[float, float]:
        """log Z by all populations, and its standard error."""
        return self._populations.estimate()

    def draws(self) -> Tensor:
        """The other particles (N, D): maxima are looked for from these, and flows may learn from
        them.
        """
        return self._populations.split()[0].particles.flatten(0, 1)

    @property
    def _populations(self) -> Populations:
        assert self.whole is not None
        return self.whole

    def temper(self, target: LogDensity, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Make new populations, and look for maxima from those that are not held out."""
        stream = mix(self.seed, Stream.SURVEY, self.rounds)
        self.rounds += 1
        self.whole = tempered_smc(target, self.reference, seed=stream, should_stop=should_stop)
        if self.complete:
            self.described = _explain(self.maxima, self.draws(), target, should_stop=should_stop)


def survey(
    target: LogDensity,
    size: int,
    maxima: list[Laplace],
    *,
    scale: float = 1.0,
    seed: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
) -> Survey:
    """Climb from where `maxima` explain least, temper from a reference wider than all, climb from
    what is left, and widen it.

    The reference has the moments of the maxima's Gaussians and of a normal around 0 that reaches to
    30 times `scale`, twice as wide. Where the particles end up about as wide as the reference, or
    show maxima that were not known, all is done again from a wider one; where hardly a draw of it
    has a positive density, from one that reaches a third as far.
    """
    maxima = list(maxima)
    climb_where_unexplained(
        maxima,
        target,
        size,
        scale=scale,
        seed=mix(seed, Stream.SURVEY, ROUNDS),
        should_stop=should_stop,
    )
    result = Survey(maxima, _reference(maxima, size, scale), seed)
    for _ in range(ROUNDS):
        known = len(result.maxima)
        result.temper(target, should_stop)
        if result.missed and not should_stop():
            scale /= NARROWER
            result.reference = _reference(result.maxima, size, scale)
            continue
        if not result.complete:
            break
        wider = _widened(result.reference, result.draws())
        if wider is None and len(result.maxima) <= known + known // 4:
            break
        result.reference = _halfway(
            wider or result.reference, _reference(result.maxima, size, scale)
        )
    return result


def agreement(survey: Survey, log_z: float, error: float) -> list[str]:
    """Reasons against a value of log Z with its standard error: what the populations say of it,
    which know nothing of it.

    They must not have met more mass than it says, within `APART` errors, nor less than half of it.
    And in many dimensions they may miss modes much narrower than others, as climbs may: where such
    are known there may be more of them.
    """
    if not survey.complete:
        return [
            "tempering from a wide start did not come to its end, so nothing but the flow vouches"
            " for its draws"
        ]
    if _unlike(survey.maxima):
        return ["modes are of very unlike width, so that narrower ones may have been missed"]
    value, noise = survey.estimate()
    values = (
        f"log Z is {log_z:.3f} by the flow and {value:.3f} ± {noise:.3f} by tempering from a wide"
        " start"
    )
    if not noise <= NOISY:
        return [f"{values}, which is too rough to vouch for it"]
    apart = APART * math.hypot(noise, error)
    if value - log_z > apart:
        return [f"{values}: mass is missing"]
    if log_z - value > max(apart, SEEN):
        return [f"{values}, which did not meet half of the mass and cannot vouch for it"]
    return []


def _unlike(maxima: list[Laplace]) -> bool:
    """Are there modes in many dimensions of which some take up next to nothing of the volume of
    others?
    """
    proper = [m for m in maxima if m.proper]
    top = max((m.log_z for m in proper), default=0.0)
    widths = [m.log_volume for m in proper if m.log_z > top - SLIGHT]
    return len(widths) > 1 and len(maxima[0].mode) > FEW and max(widths) - min(widths) > UNLIKE


def _reference(maxima: list[Laplace], size: int, scale: float) -> Reference:
    """The first two moments of equally weighted maxima and the spread around 0, made wider."""
    share = max(LEAST_AROUND, 1 / (len(maxima) + 1)) if maxima else 1.0
    means = [torch.zeros(size, dtype=torch.float64), *(m.mode.double() for m in maxima)]
    around = scale * max(LEAST_SD, RADIUS / math.sqrt(size)) * torch.eye(size, dtype=torch.float64)
    lowers = [around, *(m.lower.double() for m in maxima)]
    weights = torch.tensor(
        [share] + [(1 - share) / max(1, len(maxima))] * len(maxima), dtype=torch.float64
    )
    mean, covariance = moments(weights, torch.stack(means), torch.stack(lowers))
    return Reference(mean, _root(WIDER**2 * covariance))


def _root(covariance: Tensor) -> Tensor:
    """Cholesky factor, of coordinates scaled to unit variance so that unlike scales do no harm."""
    sd = covariance.diagonal().sqrt()
    correlation = covariance / sd[:, None] / sd
    lower: Tensor = torch.linalg.cholesky(correlation + 1e-12 * torch.eye(len(sd), dtype=sd.dtype))
    return sd[:, None] * lower


def _widened(reference: Reference, particles: Tensor) -> Reference | None:
    """A reference that is wider than the particles (N, D), or None where it was."""
    v = torch.linalg.solve_triangular(reference.lower, (particles - reference.mean).T, upper=False)
    covariance = v @ v.T / v.shape[1]
    if float(torch.linalg.eigvalsh(covariance)[-1]) <= NARROW**2:
        return None
    inner = covariance_of(v.T) + 1e-9 * torch.eye(len(v), dtype=v.dtype)
    lower = factor_of((reference.lower @ (WIDER * torch.linalg.cholesky(inner))).T)
    return Reference(reference.points(v.mean(1)), lower)


def _halfway(one: Reference, other: Reference) -> Reference:
    """The moments of two references, half of each."""
    weights = torch.full((2,), 0.5, dtype=torch.float64)
    means = torch.stack([one.mean, other.mean])
    lowers = torch.stack([one.lower, other.lower])
    mean, covariance = moments(weights, means, lowers)
    return Reference(mean, _root(covariance))


def _explain(
    maxima: list[Laplace],
    particles: Tensor,
    target: LogDensity,
    *,
    should_stop: Callable[[], bool],
) -> float:
    """Climb from particles (N, D) that no maximum accounts for, until that finds no other; the
    share accounted for.
    """
    left = _unexplained(maxima, particles)
    for _ in range(0, CLIMBS, BATCH):
        if not len(left) or len(maxima) > MOST_MODES or should_stop():
            break
        spread = torch.linspace(0, len(left) - 1, min(BATCH, len(left))).long().unique()
        new = climb_from(maxima, target, left[spread], should_stop=should_stop)
        left = _unexplained(maxima, particles)
        if not new:
            break
    return 1 - len(left) / len(particles)


def _unexplained(maxima: list[Laplace], particles: Tensor) -> Tensor:
    """Those of particles (N, D) that are far from every proper maximum."""
    near = torch.zeros(len(particles), dtype=torch.bool)
    for maximum in maxima:
        if maximum.proper:
            near |= maximum.distance(particles) <= math.sqrt(particles.shape[1]) + NEAR
    return particles[~near]
