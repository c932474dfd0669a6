"""The importance weights of a posterior: how uneven they are, and their tail."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..page.canvas import DATA, GREY, SAMPLES, canvas, robust_range, svg
from ..page.content import Part, Pictured, number

if TYPE_CHECKING:
    from ...inference import Posterior

__all__ = ["tail_size", "weights"]

Floats = NDArray[np.float64]
DISTINCT = 5  # weights that a picture needs
EVEN = 1e-6  # nats between the extremes: weights that are equal but for rounding
LIMIT = 0.7  # k-hat up to which weights can be averaged
BINS = 30
MOST_LINE = 400  # points of a line


def weights(p: Posterior) -> list[Part]:
    """Their histogram, and how their tail falls off."""
    if p.chains is not None:
        return [
            Pictured(
                None,
                [
                    "States of chains all count alike. The flow's own weights are summed up in its"
                    " figures above."
                ],
            )
        ]
    log_w = p.log_weights.double().numpy() + math.log(len(p.log_weights))
    inside = np.sort(log_w[np.isfinite(log_w)])
    words = _words(p, len(log_w) - len(inside))
    if not len(inside) or inside[-1] - inside[0] < EVEN:
        return [Pictured(None, [*words, "All weights are equal, so there is nothing to draw."])]
    if len(np.unique(inside)) < DISTINCT:
        return [
            Pictured(
                None, [*words, f"Only {len(np.unique(inside))} weights differ: too few to draw."]
            )
        ]
    return [Pictured(_picture(inside, len(log_w)), words, alt="importance weights and their tail")]


def tail_size(count: int) -> int:
    """How many weights the Pareto distribution is fitted to: min(N/5, 3 √N). Vehtari et al. 2024,
    arXiv:1507.02646.
    """
    return math.ceil(min(count / 5, 3 * math.sqrt(count)))


def _words(p: Posterior, zero: int) -> list[str]:
    count = len(p.log_weights)
    words = [
        (
            f"Weights of the {count:,} draws over their average: all would be 1 if the flow were"
            f" exact. The {tail_size(count):,} largest, in orange, are smoothed: they are quantiles"
            " of the Pareto distribution fitted to them, whose shape is k-hat,"
            f" {number(p.k_hat, 2)}. Weights far below all others are in the first bar."
        ),
        (
            "Right: the share of draws whose weight is larger. Dashed is the heaviest tail that"
            f" can be averaged, k = {LIMIT}, with the same median: a tail that reaches further to"
            " the right is too heavy."
        ),
    ]
    if zero:
        words.append(f"{zero:,} draws have weight zero and are not drawn.")
    return words


def _picture(log_w: Floats, count: int) -> str:
    """Log weights that are finite, sorted, of `count` draws."""
    tail = min(tail_size(count), len(log_w))
    with canvas(8.0, 3.3) as figure:
        left, right = figure.subplots(1, 2)
        _histogram(left, log_w, tail)
        _survival(right, log_w, tail, count=count)
        return svg(figure)


def _histogram(axes: Any, log_w: Floats, tail: int) -> None:
    x = log_w / math.log(10)
    edges = np.linspace(robust_range(x)[0], x[-1], BINS + 1)
    everything, largest = (np.histogram(part.clip(edges[0]), edges)[0] for part in (x, x[-tail:]))
    axes.stairs(everything, edges, baseline=largest, fill=True, color=DATA, alpha=0.6)
    axes.stairs(largest, edges, fill=True, color=SAMPLES, alpha=0.6)
    axes.axvline(0, color=GREY, linewidth=1, linestyle=":")
    axes.set_yscale("symlog", linthresh=10)
    axes.set_xlabel("log10 of weight / average weight")
    axes.set_ylabel("draws")


def _survival(axes: Any, log_w: Floats, tail: int, *, count: int) -> None:
    share = (np.arange(len(log_w))[::-1] + 0.5) / count
    bulk = len(log_w) - tail
    for part, colour, name in (
        (slice(0, bulk), DATA, "weights"),
        (slice(bulk, None), SAMPLES, "their fitted tail"),
    ):
        some = _thinned(log_w[part], share[part])
        axes.plot(some[0] / math.log(10), some[1], ".", color=colour, markersize=4, label=name)
    if bulk > 0 and log_w[bulk + tail // 2] > log_w[bulk - 1]:
        axes.plot(
            *_limit(log_w[bulk - 1 :], share[bulk:]),
            "--",
            color=GREY,
            linewidth=1.2,
            label=f"k = {LIMIT}",
        )
    axes.set_xlim(*(edge / math.log(10) for edge in _around(log_w, tail)))
    axes.set_yscale("log")
    axes.set_xlabel("log10 of weight / average weight")
    axes.set_ylabel("share of draws above")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower left")


def _around(log_w: Floats, tail: int) -> tuple[float, float]:
    """A range in which the tail takes a fourth of the width, less if there is not so much before
    it.
    """
    threshold = float(log_w[-tail])
    top = float(log_w[-1])
    reach = top - threshold if top > threshold else top - float(log_w[0])
    low = max(float(log_w[0]), threshold - 3 * reach)
    return low - 0.04 * (top - low), top + 0.04 * (top - low)


def _limit(log_w: Floats, share: Floats) -> tuple[Floats, Floats]:
    """A Pareto tail of k = 0.7 above the first of `log_w`, with the same median excess as the rest:
    log10 weights for `share`.
    """
    cutoff = log_w[0]
    excess = np.expm1(np.median(log_w[1:]) - log_w[0])
    scale = excess * LIMIT / (2**LIMIT - 1)
    above = share / share[0]
    return (cutoff + np.log1p(scale * (above**-LIMIT - 1) / LIMIT)) / math.log(10), share


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    keep = (
        np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_LINE)).astype(int))
        if len(x)
        else slice(None)
    )
    return x[keep], y[keep]
