"""Where to cut circles open: where the least mass is, as far as the climbs have seen."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ...supports import Circular
from ..target.space import Space
from ..target.target import Target
from .laplace import Laplace

__all__ = ["climb_and_cut", "emptiest"]

ROUNDS = 3  # of climbs, while the cut moves
DRAWS = 100  # of each maximum
PLACES = 360  # on each circle, of which the emptiest is taken
SHARPNESS = 16.0  # of the smoothing: about a quarter of a radian
WORTH = 3.0  # a cut stays where it is while the density there is at most so many times the least


def climb_and_cut(target: Target, climb: Callable[[], list[Laplace]]) -> list[Laplace]:
    """The maxima that `climb` finds, with every circle of the target's space cut open far from
    them.

    Climbs in a space with a cut in a bad place end at both of its ends, which shows where it must
    not be; then the target gets a space with a better one, and the climbs begin again. Any cut is
    right, a good one is simpler to fit.
    """
    maxima = climb()
    for _ in range(ROUNDS - 1):
        cuts = emptiest(target.space, maxima)
        if not cuts:
            break
        target.space = target.space.cut_at(cuts)
        maxima = climb()
    return maxima


@torch.no_grad()
def emptiest(space: Space, maxima: list[Laplace]) -> dict[str, float]:
    """New cuts by column, for those circles where there is a better place, from the Gaussians at
    the maxima.
    """
    if not space.circles or not maxima:
        return {}
    generator = torch.Generator().manual_seed(0)
    log_w = (
        torch.tensor([m.log_z for m in maxima], dtype=torch.float64)
        .log_softmax(0)
        .repeat_interleave(DRAWS)
    )
    draws = torch.cat([_draws(m, generator) for m in maxima])
    columns = space.flatten(space.constrain(draws)[0])
    open_at = space.cuts()
    cuts = {
        name: _emptiest(columns[:, space.names.index(name)], log_w, circle, cut=open_at[name])
        for name, circle in space.circles.items()
    }
    return {name: cut for name, cut in cuts.items() if cut is not None}


def _draws(maximum: Laplace, generator: torch.Generator) -> Tensor:
    """Points (DRAWS, D), the maximum itself where the density has no Gaussian shape."""
    return maximum.sample(DRAWS, generator) if maximum.proper else maximum.mode.expand(DRAWS, -1)


def _emptiest(x: Tensor, log_w: Tensor, circle: Circular, *, cut: float) -> float | None:
    """The place of least smoothed density, None where it is about as small at the present cut."""
    theta = circle.angle(x)
    places = torch.linspace(0, 2 * math.pi, PLACES + 1, dtype=x.dtype)[:-1]
    places = torch.cat([circle.angle(torch.tensor([cut], dtype=x.dtype)), places])
    density = (log_w + SHARPNESS * (places[:, None] - theta).cos()).logsumexp(1)
    best = int(density.argmin())
    if float(density[0] - density[best]) < math.log(WORTH):
        return None
    return float(circle.wrap(circle.low + places[best] * circle.period / (2 * math.pi)))
