"""The headline: the flow's figure, the baselines' beside it, and what to think of it in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..page.content import Grid, Part, Words, number, plus_minus
from .baselines import Score, score
from .rows import Rows

__all__ = ["Headline", "headline"]

NAMES = {"gaussian": "full-covariance Gaussian", "kde": "kernel density estimate"}
FEW = 200  # held-out rows below which the reader is warned


@dataclass(frozen=True, kw_only=True)
class Headline:
    """`figures` for programs; a table, a verdict and notes for people."""

    figures: dict[str, Any]
    grid: Grid
    verdict: list[str]
    notes: list[str]

    def parts(self) -> list[Part]:
        """What the page says first."""
        return [Words(self.verdict, "verdict"), self.grid, Words(self.notes, "note")]


def headline(
    training: Rows, held: Rows | None, scores: dict[str, Score], *, exact: bool
) -> Headline:
    """Compare a flow's log-densities with those of the baselines on the same rows, row by row."""
    rows = training if held is None else held
    figures = _figures(rows, "training" if held is None else "held-out", exact)
    for name, one in scores.items():
        figures[name] = one.figures() | _difference(rows, one)
    return Headline(
        figures=figures,
        grid=_grid(figures, training, held),
        verdict=_verdict(figures, training, held),
        notes=_notes(figures, rows, held),
    )


def _figures(rows: Rows, split: str, exact: bool) -> dict[str, Any]:
    nll, error = score(rows.log_prob)
    bits = nll / math.log(2) / rows.x.shape[1]
    outside = int((~rows.finite()).sum())
    return {
        "nll": nll,
        "nll_se": error,
        "bits_per_dim": bits,
        "rows": len(rows),
        "split": split,
        "outside": outside,
        "bound": not exact,
    }


def _difference(rows: Rows, one: Score) -> dict[str, float]:
    """How much better the flow is, nats per row, paired; over the rows to which both give a
    density.
    """
    gain = rows.log_prob[one.rows] - one.log_prob
    mean, error = (
        score(-gain[np.isfinite(gain)]) if np.isfinite(gain).any() else (math.nan, math.nan)
    )
    return {"difference": mean, "difference_se": error}


def _grid(figures: dict[str, Any], training: Rows, held: Rows | None) -> Grid:
    dims = training.x.shape[1] * math.log(2)

    def line(label: str, nll: tuple[float, float], rows: int, *rest: str) -> tuple[str, ...]:
        return label, plus_minus(*nll), number(nll[0] / dims, 4), f"{rows:,}", *rest

    lines = []
    if held is not None:
        nll = figures["nll"], figures["nll_se"]
        lines.append(line("this flow, held-out rows", nll, len(held), "", ""))
    for key, name in NAMES.items():
        if key in figures:
            f = figures[key]
            better = plus_minus(f["difference"], f["difference_se"])
            lines.append(line(name, (f["nll"], f["nll_se"]), f["rows"], better, f["note"]))
    lines.append(
        line(
            "this flow, training rows",
            score(training.log_prob),
            len(training),
            "",
            "what it was fitted to",
        )
    )
    header = (
        "",
        "NLL, nats per row",
        "bits per dimension",
        "rows",
        "flow better by, nats per row",
        "how",
    )
    return Grid(header, lines, frozenset({0}))


def _verdict(figures: dict[str, Any], training: Rows, held: Rows | None) -> list[str]:
    if held is None:
        return [
            "No rows were held out, so nothing here says how well the flow does on rows that it has"
            " not seen: its figure on its own training rows flatters it."
        ]
    said = [_compare(figures)] if "gaussian" in figures else []
    if len(held) < FEW:
        said.append(
            f"Only {len(held):,} rows were held out: another split could give a noticeably"
            " different figure."
        )
    gap, error = _gap(training, held)
    if gap > max(2 * error, 0.5):
        said.append(
            f"On its training rows it is {number(gap, 2)} nats better than on held-out rows: it"
            " overfits somewhat."
        )
    return said


def _compare(figures: dict[str, Any]) -> str:
    gains = [(figures[key]["difference"], figures[key]["difference_se"]) for key in NAMES]
    if not any(abs(gain) > 2 * error for gain, error in gains):
        each = " and ".join(
            f"{plus_minus(*g, 2)} against a {NAMES[key]}"
            for key, g in zip(NAMES, gains, strict=True)
        )
        return (
            "On held-out rows the flow cannot be distinguished from either baseline: its gain in"
            f" nats per row is {each}."
        )
    parts = []
    for key, name in NAMES.items():
        gain = figures[key]["difference"]
        error = figures[key]["difference_se"]
        size = f"{number(abs(gain), 2)} ± {number(error, 2)} nats per row"
        if not abs(gain) > 2 * error:  # also when there is no standard error
            parts.append(
                f"not distinguishable from a {name} ({plus_minus(gain, error, 2)} nats per row)"
            )
        else:
            parts.append(f"{size} {'better' if gain > 0 else 'worse'} than a {name}")
    return f"On held-out rows the flow is {parts[0]} and {parts[1]}."


def _gap(training: Rows, held: Rows) -> tuple[float, float]:
    (a, ea), (b, eb) = (
        score(r.log_prob[r.finite()]) if r.finite().any() else (math.nan, math.nan)
        for r in (training, held)
    )
    return b - a, math.hypot(ea, eb)


def _notes(figures: dict[str, Any], rows: Rows, held: Rows | None) -> list[str]:
    notes = [
        "NLL is the negative log-likelihood, smaller is better; ± is one standard error over rows,"
        " of differences row by row."
    ]
    if figures["bound"]:
        notes.append(
            "Integer columns are dequantised with uniform noise: the figures are upper bounds of"
            " the NLL of the integers, the baselines' too, with the same noise."
        )
    if figures["outside"]:
        inside = (
            score(rows.log_prob[rows.finite()]) if rows.finite().any() else (math.nan, math.nan)
        )
        notes.append(
            f"{figures['outside']:,} of {len(rows):,} rows lie outside a column's support and have"
            " density zero, which makes the mean infinite; over the other rows it is"
            f" {plus_minus(*inside)}."
        )
    if held is not None and len(held) < held.total:
        notes.append(f"{len(held):,} of {held.total:,} held-out rows, chosen by seed, were scored.")
    if rows.context is not None and held is not None:
        notes.append(
            "The flow is conditional; the baselines are too: p(x, c) / p(c) of a Gaussian and of a"
            " kernel estimate."
        )
    return notes
