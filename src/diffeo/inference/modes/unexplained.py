"""Maxima that climbs from afar miss: look where those that are known explain least."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..target.density import LogDensity
from .laplace import MOST_MODES, WIDTHS, Laplace, climb_from

__all__ = ["climb_where_unexplained"]

POINTS = 1 << 14  # drawn at each width
BATCH = 1 << 12
BEST = 4  # of the points of a width, to climb from
QUIET = 2  # rounds in a row that find nothing new, after which there is taken to be nothing
MOST_ROUNDS = 20


def climb_where_unexplained(
    maxima: list[Laplace],
    target: LogDensity,
    size: int,
    *,
    scale: float = 1.0,
    seed: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Climb from where log p̃ is largest beside log Σ_i Z_i N(u; m_i, L_i L_iᵀ) of the known
    `maxima`, and add the new ones.

    In many dimensions the widest mode outshines narrower ones nearly everywhere, to the last digit
    of log p̃: climbs from afar end there, and tempering loses the others on its way. They stand out
    only in regions around them, which a few in thousands of draws meet that are spread as widely as
    modes lie apart. `target` takes (B, D); draws have the widths of `laplace`, around 0, and those
    of the known maxima, around their mean.
    """
    generator = torch.Generator().manual_seed(seed)
    quiet = 0
    for _ in range(MOST_ROUNDS):
        before = len(maxima)
        for mean, sd in _spreads(maxima, size, scale):
            known = [m for m in maxima if m.proper]
            if not known or len(maxima) > MOST_MODES or should_stop():
                return
            noise = torch.randn(POINTS, size, generator=generator, dtype=torch.float64)
            points = mean + sd * noise
            excess = torch.cat([_excess(known, target, part) for part in points.split(BATCH)])
            best = points[excess.topk(BEST).indices]
            climb_from(maxima, target, best, should_stop=should_stop)
        quiet = 0 if len(maxima) > before else quiet + 1
        if quiet == QUIET:
            return


def _spreads(maxima: list[Laplace], size: int, scale: float) -> list[tuple[Tensor, Tensor]]:
    """Means (D,) and standard deviations (D,) of the draws."""
    spreads = [
        (torch.zeros(size).double(), torch.full((size,), width * scale).double())
        for width in WIDTHS
    ]
    if len(maxima) < 2:
        return spreads
    modes = torch.stack([m.mode for m in maxima]).double()
    within = torch.stack([m.lower.square().sum(1) for m in maxima]).mean(0)
    mean = modes.mean(0)
    between = modes.var(0)
    alike = (between / within).mean()  # as far apart in every coordinate, beside the width there
    return [*spreads, (mean, (within + between).sqrt()), (mean, (within * (1 + alike)).sqrt())]


@torch.no_grad()
def _excess(known: list[Laplace], target: LogDensity, points: Tensor) -> Tensor:
    """log p̃ less that of the known maxima's Gaussians, at points (B, D): (B,)."""
    explained = torch.stack([maximum.log_density(points) for maximum in known]).logsumexp(0)
    excess: Tensor = target(points).double() - explained
    return excess.nan_to_num(nan=-math.inf, neginf=-math.inf)
