"""Tables of a posterior: what was tried, every entry in figures, evaluations, and lines to copy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..page.content import Code, Fold, Grid, Heading, Part, Words, number
from .corner import ON_CIRCLES, named

if TYPE_CHECKING:
    from ...inference import Posterior

__all__ = ["attempts", "counts", "summary", "usage"]

SHOWN = 30  # entries in sight, the others are folded away
TRIED = {
    "flow": (
        "a flow that starts from Laplace's approximation, or a mixture of them, where they say"
        " enough"
    ),
    "particles": "a deeper flow, from the particles of tempered Monte Carlo",
    "annealed": "a deeper flow, from a wide normal through tempered targets",
    "fab": "the annealed flow, trained on by annealed importance sampling (FAB)",
    "mcmc": "Markov chains in the latent space of the best flow",
}
COUNTED = {
    "evaluations": ("points", "at which the log density was evaluated"),
    "gradients": ("gradients", "points at which a gradient was taken too"),
    "nan_rows": (
        "NaN",
        "points where it was NaN, or that were not finite themselves: counted as zero density",
    ),
    "outside_rows": ("outside", "points where it was −∞: outside the support"),
    "declared_rows": (
        "not inside",
        "points where `inside` is false: the log density was not asked",
    ),
    "nan_gradients": (
        "bad gradients",
        "points of finite density whose gradient is not finite: taken as zero",
    ),
}


def attempts(p: Posterior) -> list[Part]:
    """Everything that was tried, in its order, and what speaks against each."""
    rows = [
        (
            a.name,
            TRIED.get(a.name, ""),
            "yes" if a.trusted else "no",
            f"{a.steps:,}",
            number(a.seconds, 1),
            f"{a.evaluations:,}",
        )
        for a in p.attempts
    ]
    header = ("attempt", "what it is", "trusted", "training steps", "seconds", "evaluations")
    words = [
        "Attempts end with the first that passed the diagnostics, the last that was allowed, or the"
        " end of the time."
    ]
    if p.signum is not None:
        words.append("A signal ended the search early.")
    trusted = frozenset(i for i, a in enumerate(p.attempts) if a.trusted)
    against = [f"Against {a.name}: {'; '.join(a.reasons)}." for a in p.attempts if a.reasons]
    return [Words(words), Grid(header, rows, trusted), Words(against)]


def summary(p: Posterior) -> list[Part]:
    """Mean, standard deviation and quantiles of every entry."""
    header = ("entry", "mean", "sd", "5 %", "50 %", "95 %")
    rows = [_entry(row) for row in p.summary()]
    origin = (
        "Weighted by the importance weights."
        if p.chains is None
        else "Of all states of the chains, equally weighted."
    )
    words = [f"{origin} Entries count from 0."]
    if p.space.circles:
        words.append(
            f"{ON_CIRCLES} ({named(p.space.circles)}) have circular means and standard deviations,"
            " and quantiles of the distance from the mean, wrapped: the 5 % one may be the larger"
            " number."
        )
    parts: list[Part] = [Words(words, "note"), Grid(header, rows[:SHOWN])]
    if len(rows) > SHOWN:
        parts.append(Fold(f"The other {len(rows) - SHOWN:,} entries", Grid(header, rows[SHOWN:])))
    return parts


def counts(p: Posterior) -> list[Part]:
    """How often the log density was asked, and how often in vain."""
    total = max(1, p.counts.get("evaluations", 0))
    rows = []
    for key, (name, meaning) in COUNTED.items():
        value = p.counts.get(key, 0)
        share = "" if key in ("evaluations", "gradients") or not value else f"{value / total:.2%}"
        rows.append((name, f"{value:,}", share, meaning))
    return [
        Words(["Over all attempts, checks at the start included."]),
        Grid(("", "count", "of all points", "what it is"), rows),
    ]


def usage(folder: Path, p: Posterior) -> list[Part]:
    """Python lines that read the draws."""
    path = folder / "draws.parquet"
    name = p.space.names[0]
    lines = [
        "import pandas",
        f"draws = pandas.read_parquet({str(path)!r})   # a row a draw, a column an entry",
        "draws.describe()",
        f"draws[{name!r}].quantile([0.05, 0.5, 0.95])",
    ]
    if len(p.space.names) > 1:
        lines.append(f"draws.corr(method='spearman')[{name!r}]")
    known = [
        "posterior.sample(1000)         # draws, as the log density takes them",
        "posterior.log_prob(value)      # the flow's normalised log density of such values",
        f"posterior.to_dataframe().to_parquet({str(path)!r})",
        "posterior.to_arviz()           # for ArviZ",
    ]
    taken = (
        "Draws are taken in proportion to their weights, some more than once: all count alike, no"
        " weights are needed."
    )
    return [
        Heading("From the file"),
        Code("\n".join(lines)),
        Words([taken], "note"),
        Heading("In Python"),
        Code("\n".join(known)),
    ]


def _entry(row: Mapping[str, float | str]) -> tuple[str, ...]:
    """A row of the table, with as many digits as tell the quantiles apart."""
    name, mean, sd, *cuts = row.values()
    digits = _digits(float(mean), float(sd))
    return str(name), figure(mean, digits), figure(sd, 3), *(figure(q, digits) for q in cuts)


def figure(value: float | str, digits: int) -> str:
    """A number of so many significant digits."""
    return (
        f"{float(value):.{digits}g}".replace("-", "−", 1)
        if float(value) < 0
        else f"{float(value):.{digits}g}"
    )


def _digits(mean: float, sd: float) -> int:
    if not (math.isfinite(mean) and sd > 0) or mean == 0:
        return 4
    return min(16, max(4, math.ceil(math.log10(abs(mean) / sd)) + 3))
