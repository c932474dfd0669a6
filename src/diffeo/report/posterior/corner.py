"""Draws of a posterior, pair by pair of its entries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..measures import most_dependent, ranks_correlation
from ..page import plots
from ..page.content import Part, Pictured

if TYPE_CHECKING:
    from ...inference import Posterior

__all__ = ["corner"]

Floats = NDArray[np.float64]
DRAWS = 4_000
ON_CIRCLES = "Entries on circles"
POINTS = 1_500  # in each scatter plot


def corner(p: Posterior) -> list[Part]:
    """A corner plot of the most dependent entries, or a histogram of the only one."""
    x = p.unrolled(p.space.flatten(p.sample(DRAWS))).numpy()
    x = x[np.isfinite(x).all(1)]
    moving = [i for i in range(x.shape[1]) if len(x) and np.ptp(x[:, i]) > 0]
    words = _words(p, x, moving)
    if not moving:
        return [Pictured(None, [*words, "There is no spread to draw."])]
    labels = [p.space.names[i] for i in moving]
    picture, more = _one(x[:, moving], labels) if len(moving) == 1 else _pairs(x[:, moving], labels)
    return [Pictured(picture, words + more, alt="posterior draws")]


def _words(p: Posterior, x: Floats, moving: list[int]) -> list[str]:
    distinct = len(np.unique(x, axis=0))
    kind = (
        "states of the chains"
        if p.chains is not None
        else "draws taken in proportion to their weights"
    )
    words = [f"{len(x):,} {kind}; {distinct:,} of them are distinct."]
    if not p.trusted:
        words.append(
            "They failed the diagnostics: this is what the search came to, not the posterior."
        )
    if p.space.circles:
        words.append(
            f"{ON_CIRCLES} are drawn within half a turn of their mean: {named(p.space.circles)}."
        )
    if still := [name for i, name in enumerate(p.space.names) if i not in moving]:
        words.append(f"Not drawn, since they do not vary: {named(still)}.")
    return words


def named(names: Iterable[str]) -> str:
    """The first of many names."""
    names = list(names)
    return ", ".join(names[:10]) + (" …" if len(names) > 10 else "")


def _one(x: Floats, labels: list[str]) -> tuple[str, list[str]]:
    x, labels = logged(x, labels)
    return plots.two_groups(x[:, 0], None, ("posterior draws", ""), axis=labels[0]), []


def _pairs(x: Floats, labels: list[str]) -> tuple[str, list[str]]:
    rho = ranks_correlation(x)
    chosen = most_dependent(rho)
    pick = np.ix_(chosen, chosen)
    i, j = sorted(int(k) for k in np.unravel_index(np.abs(rho).argmax(), rho.shape))
    which = (
        "All entries"
        if len(chosen) == len(labels)
        else f"The {len(chosen)} most dependent of {len(labels):,} entries"
    )
    words = [
        f"{which}. Figures are Spearman's rank correlations; the strongest of all pairs is that of"
        f" {labels[i]} and {labels[j]}, {rho[i, j]:+.2f}.".replace("-", "−")
    ]
    values, named = logged(x[:POINTS, chosen], [labels[k] for k in chosen])
    return plots.corner(values, None, named, rho=(rho[pick],)), words


def logged(x: Floats, labels: list[str]) -> tuple[Floats, list[str]]:
    """Positive columns that range over orders of magnitude as logarithms, with labels that say
    so.
    """
    x = x.copy()
    labels = list(labels)
    for i in range(x.shape[1]):
        low, high = np.quantile(x[:, i], (0.01, 0.99))
        if x[:, i].min() > 0 and high > 50 * low:
            x[:, i] = np.log10(x[:, i])
            labels[i] = f"log10 {labels[i]}"
    return x, labels
