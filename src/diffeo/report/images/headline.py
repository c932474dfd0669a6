"""The headline of images: bits per dimension, beside what needs no flow, and what to think of it in
words.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.wording import argument
from ...data import Images
from ...domains.image import bits_of
from ...flow import Flow
from ..page.content import Grid, number, plus_minus
from ..tables.baselines import Score, score
from ..tables.headline import FEW, Headline
from ..tables.rows import Numbers
from .pixel_histograms import independent_pixels
from .rows import Scored, training_pixels

__all__ = ["baselines", "headline"]

Floats = NDArray[np.float64]
NAMES = {
    "uniform": "uniform: every value equally likely",
    "histogram": "independent pixels: a histogram each",
}
NOTICED = 0.01  # bits per dimension of overfitting below which nothing is said


def baselines(
    flow: Flow, images: Images, train: Numbers, *, held: Scored | None, seed: int
) -> dict[str, Score]:
    """What a model of `bits` bits has to beat, image by image; nothing for real-valued images or
    without held-out ones.
    """
    bits = bits_of(flow)
    if bits is None or held is None:
        return {}
    rows = np.arange(len(held))
    known = training_pixels(images, train, seed)
    pixels = held.images.pixels.reshape(len(held), -1)
    counted = (
        f"{len(known):,} training images"
        if len(known) == len(train)
        else f"{len(known):,} of {len(train):,} training images"
    )
    return {
        "uniform": Score(
            np.full(len(held), -bits * held.per_bit), rows, f"{bits} bits for each value, exactly"
        ),
        "histogram": Score(
            independent_pixels(np.minimum(known, 2**bits - 1), pixels, 2**bits),
            rows,
            f"of {counted}, one added to every count; exact probabilities",
        ),
    }


def headline(
    training: Scored, held: Scored | None, scores: dict[str, Score], *, exact: bool, real: bool
) -> Headline:
    """Compare a flow's bits per dimension with those of the baselines on the same images, one by
    one.
    """
    rows = training if held is None else held
    figures = _figures(rows, rows.log_prob) | {"split": rows.what, "bound": not exact}
    for name, one in scores.items():
        gain, error = _finite(rows.bits - one.log_prob / -rows.per_bit)
        figures[name] = _figures(rows, one.log_prob) | {
            "difference": -gain,
            "difference_se": error,
            "note": one.note,
        }
    return Headline(
        figures=figures,
        grid=_grid(figures, training, held),
        verdict=_verdict(figures, training, held, real=real),
        notes=_notes(figures, rows, real),
    )


def _figures(rows: Scored, log_prob: Floats) -> dict[str, Any]:
    nll, error = score(log_prob)
    # without the rounding errors of a mean
    if len(log_prob) > 1 and (log_prob == log_prob[0]).all():
        nll = -float(log_prob[0])
        error = 0.0
    return {
        "nll": nll,
        "nll_se": error,
        "bits_per_dim": nll / rows.per_bit,
        "bits_per_dim_se": error / rows.per_bit,
        "rows": len(rows),
    }


def _grid(figures: dict[str, Any], training: Scored, held: Scored | None) -> Grid:
    def line(label: str, f: dict[str, Any], how: str = "") -> tuple[str, ...]:
        better = plus_minus(f["difference"], f["difference_se"]) if "difference" in f else ""
        bits = _figure(f["bits_per_dim"], f["bits_per_dim_se"], 3)
        nll = _figure(f["nll"], f["nll_se"], 1)
        return label, bits, better, f"{f['rows']:,}", nll, how

    lines = [] if held is None else [line("this flow, held-out images", figures)]
    lines += [
        line(name, figures[key], figures[key]["note"])
        for key, name in reversed(NAMES.items())
        if key in figures
    ]
    lines.append(
        line(
            "this flow, training images",
            _figures(training, training.log_prob),
            "what it was fitted to",
        )
    )
    header = ("", "bits per dimension", "flow better by", "images", "NLL, nats per image", "how")
    return Grid(header, lines, frozenset({0}))


def _figure(value: float, error: float, digits: int) -> str:
    return number(value, digits) if error == 0 else plus_minus(value, error, digits)


def _verdict(
    figures: dict[str, Any], training: Scored, held: Scored | None, *, real: bool
) -> list[str]:
    if held is None:
        return [
            "No images were held out, so nothing here says how well the model does on images that"
            " it has not seen: its figure on its own training images flatters it."
        ]
    said = [_density(figures) if real else _compare(figures)]
    if len(held) < FEW:
        said.append(
            f"Only {len(held):,} images were held out: another split could give a noticeably"
            " different figure."
        )
    return [*said, *_overfit(training, held)]


def _density(figures: dict[str, Any]) -> str:
    bits = plus_minus(figures["bits_per_dim"], figures["bits_per_dim_se"])
    return (
        f"Held-out images have {bits} bits per dimension, of a density of real numbers in the units"
        " of the pixels: comparable with other such models of these images only."
    )


def _compare(figures: dict[str, Any]) -> str:
    bits = plus_minus(figures["bits_per_dim"], figures["bits_per_dim_se"])
    one = figures["histogram"]
    gain = one["difference"]
    error = one["difference_se"]
    start = f"Held-out images take {bits} bits per dimension"
    uniform = figures["uniform"]["bits_per_dim"]
    if not abs(gain) > 2 * error:  # also when there is no standard error
        return (
            f"{start}: not distinguishable from independent pixels ({plus_minus(gain, error)}"
            " fewer)."
        )
    if gain < 0:
        return (
            f"{start}: {plus_minus(-gain, error)} more than independent pixels. Train longer, or"
            " choose a larger model."
        )
    fewer = f"{plus_minus(gain, error)} fewer than independent pixels"
    return (
        f"{start}: {fewer}, and {number(uniform - figures['bits_per_dim'], 3)} fewer than with no"
        " model at all."
    )


def _overfit(training: Scored, held: Scored) -> list[str]:
    seen, ea = _finite(training.bits)
    unseen, eb = _finite(held.bits)
    gap = unseen - seen
    error = math.hypot(ea, eb)
    if not gap > max(2 * error, NOTICED):
        return []
    return [
        f"On its training images it needs {number(gap, 3)} bits per dimension fewer than on"
        " held-out ones: it overfits somewhat."
    ]


def _finite(bits: Floats) -> tuple[float, float]:
    """Mean and standard error of those that are finite; NaN when none is."""
    bits = bits[np.isfinite(bits)]
    return score(-bits) if len(bits) else (math.nan, math.nan)


def _notes(figures: dict[str, Any], rows: Scored, real: bool) -> list[str]:
    notes = [
        "Bits per dimension are −log2 p(image), divided by the number of its values: what a"
        " lossless code built on the model would spend on each. Smaller is better; ± is one"
        " standard error over images, of differences image by image."
    ]
    if figures["bound"]:
        notes.append(
            "Pixels are whole numbers and get noise before the flow sees them: its figures are"
            " upper bounds, the truth is a little smaller. Evaluation with"
            f" {argument('importance', 8)} comes nearer. The baselines are exact."
        )
    if rows.context is not None:
        compared = "" if real or "histogram" not in figures else " the baselines are not;"
        notes.append(
            f"The flow is conditional on the class of every image,{compared} densities are"
            " p(image | class)."
        )
    if lost := int((~np.isfinite(rows.log_prob)).sum()):
        notes.append(
            f"{lost:,} of {len(rows):,} images have density zero, or none: the mean over all of"
            " them is not finite."
        )
    if len(rows) < rows.total:
        notes.append(
            f"{len(rows):,} of {rows.total:,} {rows.what} images, chosen by seed, were scored."
        )
    return notes
