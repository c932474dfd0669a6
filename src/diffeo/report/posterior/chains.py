"""The Markov chains of a posterior: the entries on which they agree least, and the trace of the
worst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...inference import ess_bulk, ess_tail, rhat
from ..page.canvas import bin_edges, canvas, png
from ..page.content import Grid, Part, Pictured, number
from .corner import logged

if TYPE_CHECKING:
    from ...inference import Posterior

__all__ = ["chains"]

Floats = NDArray[np.float64]
LISTED = 10
TRACES = 6
COLOURS = ("#3b6ea5", "#d9541e", "#4c9141", "#8d5aa8", "#b8860b", "#666666")


def chains(p: Posterior) -> list[Part]:
    """R-hat and effective sample sizes of the worst entries, and traces of the worst of all."""
    assert p.chains is not None
    count, length = p.chains.samples.shape[:2]
    x = p.unrolled(p.columns()).reshape(count, length, -1)
    rhats, bulk, tail = (measure(x).numpy() for measure in (rhat, ess_bulk, ess_tail))
    order = np.argsort(-np.nan_to_num(rhats, nan=np.inf), kind="stable")[:LISTED]
    worst = int(order[0])
    rows = [
        (p.space.names[i], number(rhats[i], 3), number(bulk[i], 0), number(tail[i], 0))
        for i in order
    ]
    trace = _trace(x[:, :, worst].numpy(), p.space.names[worst])
    listed = (
        "all entries"
        if len(order) == x.shape[2]
        else f"the {len(order)} worst of {x.shape[2]:,} entries"
    )
    words = [
        (
            f"{p.space.names[worst]} is the entry on which the chains agree least. Drawn are"
            f" {min(TRACES, count)} of {count:,} chains, from the one with the lowest mean to the"
            " one with the highest. Chains that have converged look alike, and each wanders"
            " through the whole range."
        ),
        f"The table has {listed}; n/a stands where an entry does not vary or chains are too short.",
    ]
    return [
        Pictured(
            trace,
            words,
            grid=Grid(("entry", "R-hat", "bulk ESS", "tail ESS"), rows),
            alt="traces of chains",
        )
    ]


def _trace(x: Floats, name: str) -> str:
    """States (C, N) of one entry: some chains over their iterations, and their histograms
    beside.
    """
    flat, labels = logged(x.reshape(-1, 1), [name])
    count, length = x.shape
    label = labels[0]
    x = flat.reshape(count, length)
    chosen = np.argsort(x.mean(1), kind="stable")[
        np.unique(np.linspace(0, count - 1, min(TRACES, count)).astype(int))
    ]
    edges, _ = bin_edges(x.ravel())
    with canvas(8.0, 3.3) as figure:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
        for i, colour in zip(chosen, COLOURS, strict=False):
            left.plot(np.arange(1, length + 1), x[i], color=colour, linewidth=0.6, alpha=0.8)
            right.stairs(
                np.histogram(x[i], edges, density=True)[0],
                edges,
                orientation="horizontal",
                color=colour,
            )
        left.set_ylim(edges[0], edges[-1])
        left.set_xlabel("iteration after the warm-up")
        left.set_ylabel(label if len(label) <= 30 else f"{label[:29]}…", parse_math=False)
        right.set_xticks([])
        return png(figure)
