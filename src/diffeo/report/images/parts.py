"""Sections about single images and their latents: reconstructions, scales, the likely and the
unlikely.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import latents
from ...flow import Flow
from ...training import rows_per_pass
from ..measures import critical, ks_normal, ks_normals, normal_scores
from ..page import plots
from ..page.content import (
    Beside,
    Card,
    Cards,
    Grid,
    Heading,
    Part,
    Pictured,
    Words,
    number,
    plus_minus,
)
from .pictures import as_pixels, tiles
from .rows import Scored

__all__ = ["extremes", "reconstructions", "scales"]

Floats = NDArray[np.float64]
MOST = 64  # images reconstructed
STRIP = 660  # pixels that a strip of images has on the page
EXTREME = 10  # images of the least, and of the most, likely


def reconstructions(flow: Flow, rows: Scored, bits: int, *, seed: int) -> list[Part]:
    """Images, what comes back of them, and what the coarse scales alone make of them."""
    index = _evenly(len(rows), min(MOST, max(4, rows_per_pass(flow.event_shape))))
    x = rows.tensor[index]
    context = None if rows.context is None else rows.context[index]
    across = min(len(index), int(np.clip(STRIP // max(64, *flow.event_shape[1:]), 4, 10)))
    shown = _evenly(len(index), across)
    shown_context = None if context is None else context[shown]

    def strip(name: str, pixels: Any, caption: str = "") -> Card:
        return Card(name, tiles(as_pixels(pixels, bits), bits, across), caption=caption, alt=name)

    back = as_pixels(latents.reconstruct(flow, x, context, seed=seed), bits)
    share = float((back == x.numpy()).mean())
    cards = [
        strip(f"{rows.what} images", x[shown]),
        strip("decoded again", back[shown], "all exact" if share == 1 else f"{share:.4%} exact"),
    ]
    count = len(flow.transform.parts(flow.event_shape))
    for keep in range(count - 1, 0, -1):
        pixels = latents.reconstruct(flow, x[shown], shown_context, keep=keep, seed=seed)
        coarse = "the coarsest scale kept" if keep == 1 else f"the {keep} coarsest scales kept"
        cards.append(strip(coarse, pixels, f"{count - keep} of {count} scales redrawn"))
    words = [
        f"Encoded to latents and decoded again, {_exact(share)} of {len(x):,} {rows.what} images"
        " come back as they were."
    ]
    if count > 1:
        words.append(
            "Where the latents of the finer scales are drawn anew, one sees what the coarser ones"
            " determine."
        )
    return [Words(words), Cards(cards, "strips")]


def scales(flow: Flow, rows: Scored) -> list[Part]:
    """The latents of every scale against the normal distribution."""
    shapes = flow.transform.parts(flow.event_shape)
    z, names = normal_scores(flow.base, rows.z[np.isfinite(rows.log_prob)].astype(np.float64))
    if not z.size or z.shape[1] != rows.z.shape[1]:
        kind = type(flow.base).__name__
        reason = (
            "no image has a finite density"
            if kind == "Normal"
            else f"the base is a {kind} distribution, not a normal one"
        )
        return [Words([f"There is nothing to compare: {reason}."])]
    cuts = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    limit = critical(len(z))
    cards: list[Card] = []
    lines: list[tuple[str, ...]] = []
    for i, (part, shape) in enumerate(zip(np.split(z, cuts, axis=1), shapes, strict=True)):
        name = _scale(i, len(shapes))
        size = " × ".join(map(str, shape))
        each = ks_normals(part)
        pooled = ks_normal(part.ravel())
        above = f"{int((each > limit).sum()):,} of {len(each):,}"
        lines.append(
            (name, size, _rounded(part.mean()), _rounded(part.std()), f"{pooled:.3f}", above)
        )
        cards.append(
            Card(
                name,
                plots.against_normal(part.ravel()),
                caption=f"KS {pooled:.3f}",
                alt="histogram of latents",
            )
        )
    words = [
        (
            f"If the model were the truth, the latents of {rows.what} images would be standard"
            " normal (line), independent of each other, with mean 0 and standard deviation 1 at"
            " every scale. KS is the largest gap between the two distribution functions; of single"
            f" entries, about 1 in 20 would then exceed {limit:.3f} over {len(z):,} images."
        ),
    ]
    if any("base" in name for name in names):
        words.append(
            f"The base is a {type(flow.base).__name__} distribution: latents are shown as normal"
            " scores."
        )
    header = ("scale", "shape", "mean", "sd", "KS, pooled", f"entries above {limit:.3f}")
    return [Words(words), Cards(cards), Grid(header, lines)]


def extremes(rows: Scored, training: Scored, bits: int) -> list[Part]:
    """Bits of every image: their distribution, and the images at either end of it."""
    both = training is not rows
    labels = f"{rows.what} images", "training images"
    picture = plots.two_groups(
        rows.bits, training.bits if both else None, labels, axis="bits per dimension"
    )
    finite = rows.bits[np.isfinite(rows.bits)]
    spread = (
        f": {plus_minus(float(finite.mean()), float(finite.std()))} (standard deviation)"
        if len(finite)
        else ""
    )
    words = [
        (
            f"Bits per dimension of {len(rows):,} {rows.what} images{spread}. Images that take many"
            " are errors in the data, rare cases or regions where the model is wrong; those that"
            " take few are the simplest, not the most typical. Images are numbered from 0, in the"
            " order in which they were read."
        ),
    ]
    count = min(EXTREME, max(1, len(rows) // 2))
    order = np.argsort(rows.log_prob, kind="stable")
    ends = ("Least likely", order[:count]), ("Most likely", order[::-1][:count])
    columns = [[Heading(title), *_end(rows, index, bits)] for title, index in ends]
    return [Pictured(picture, words, alt="histogram of bits per dimension"), Beside(columns)]


def _end(rows: Scored, index: NDArray[np.int64], bits: int) -> list[Part]:
    chosen = rows.images.subset(index)
    uri = tiles(np.asarray(chosen.pixels), bits, 5)
    header = (
        "",
        "bits per dim.",
        "number",
        *(["class"] if chosen.labels is not None else []),
        *(["file"] if chosen.names else []),
    )
    lines = []
    for k, i in enumerate(index):
        line: list[str] = [str(k + 1), number(float(rows.bits[i]), 3), f"{rows.index[i]:,}"]
        line += [chosen.classes[chosen.labels[k]]] if chosen.labels is not None else []
        lines.append((*line, *([chosen.names[k]] if chosen.names else [])))
    return [
        Cards([Card("row by row, as in the table", uri, alt="images")], "tiles"),
        Grid(header, lines),
    ]


def _exact(share: float) -> str:
    return "all values" if share == 1 else f"{share:.4%} of the values"


def _rounded(value: float) -> str:
    return number(round(float(value), 3), 3)


def _scale(i: int, count: int) -> str:
    if count == 1:
        return "all latents"
    ends = {0: " (finest)", count - 1: " (coarsest)"}
    return f"{i + 1}{ends.get(i, '')}"


def _evenly(count: int, wanted: int) -> list[int]:
    """At most `wanted` of the numbers below `count`, from first to last."""
    return [int(i) for i in np.linspace(0, count - 1, min(count, wanted)).round()]
