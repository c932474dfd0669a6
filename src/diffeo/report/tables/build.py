"""From a trained flow and its table to `report.html`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data import Schema, Table
from ...flow import Flow
from ...training import FitResult
from ..measures import (
    critical,
    ks_normals,
    ks_two,
    most_dependent,
    normal_scores,
    ranks_correlation,
    unusual,
)
from ..page import plots
from ..page.content import Card, Cards, Fold, Grid, Page, Part, Pictured, Section, Words, number
from ..page.page import write_report
from .baselines import Score, score_baselines
from .choices import choices, closing, usage
from .headline import Headline, headline
from .rows import Rows, baseline_rows, collect, noise_seed, sample

__all__ = ["build_report"]

Floats = NDArray[np.float64]
DRAWN = 24  # histograms
POINTS = 700  # in each scatter plot, of data and of samples
ENOUGH = 200  # held-out rows from which samples are compared with these alone
COMPARED = 5_000  # rows that samples are compared with
WORST = 10
CELLS = 12  # cells shown of an unlikely row


def build_report(
    folder: str | Path,
    flow: Flow,
    table: Table,
    *,
    result: FitResult,
    checkup: Any = None,
    held_out: Table | None = None,
    seed: int = 0,
    samples: int = 2000,
) -> tuple[Path, dict[str, Any]]:
    """Write `folder/report.html` about a flow that `fit` trained on `table`; return its path and
    the headline figures.

    Held-out rows are those of `held_out`, else the validation rows of `result`. `checkup` is a
    `diffeo.checkup.Checkup` (or its dict). The figures: `nll`, `nll_se` (nats per row, the data's
    own units), `bits_per_dim`, `rows`, `split`, `outside` (rows of density zero), `bound`; and,
    when rows were held out, for `gaussian` and `kde` each `nll`, `nll_se`, `difference` (how much
    better the flow is), `difference_se`, `rows`, `note`. Raises `OSError` when it cannot write.
    """
    folder = Path(folder)
    training, held = collect(flow, table, result, held_out=held_out, seed=seed)
    head = headline(training, held, _baselines(held, table, result, seed=seed), exact=flow.exact)
    page = _page(
        folder,
        flow,
        table,
        result=result,
        checkup=checkup,
        training=training,
        held=held,
        head=head,
        seed=seed,
        samples=samples,
    )
    return write_report(folder, page), head.figures


def _baselines(
    held: Rows | None, table: Table, result: FitResult, *, seed: int
) -> dict[str, Score]:
    if held is None:
        return {}
    x, given, total = baseline_rows(table, result, seed)
    context = None if given is None or held.context is None else (given, held.context)
    scores = score_baselines(
        x, held.x, table.schema.supports, context=context, seed=noise_seed(result)
    )
    subset = f"; fitted on {len(x):,} of {total:,} training rows" if len(x) < total else ""
    return {name: replace(one, note=one.note + subset) for name, one in scores.items()}


def _page(
    folder: Path,
    flow: Flow,
    table: Table,
    *,
    result: FitResult,
    checkup: Any,
    training: Rows,
    held: Rows | None,
    head: Headline,
    seed: int,
    samples: int,
) -> Page:
    data, context, which = _compared(training, held, seed)
    drawn, at = sample(flow, samples, context, seed=seed)
    if len(at):
        data = data[np.unique(at)]
    made = choices(flow, table, result, held=0 if held is None else held.total)
    sections = [
        Section("How good it is", [*_no_density(checkup), *head.parts()]),
        Section("Losses", [_loss(result)]),
        Section("Columns", _histograms(table, data, drawn, which=which)),
        Section("Dependence", [_corner(table, data, drawn)]),
        Section(
            "Latents",
            [
                _latent(
                    flow,
                    training if held is None else held,
                    "training" if held is None else "held-out",
                )
            ],
        ),
        Section("Least likely rows", [_unlikely(table, training, held)]),
        *closing(
            made,
            checkup,
            usage(folder, table.context is not None, isinstance(flow.card.data, Schema)),
        ),
    ]
    return Page(
        title="Density model",
        source=table.source,
        tags=_tags(flow, table, result=result, held=held),
        sections=sections,
    )


def _no_density(checkup: Any) -> list[Part]:
    """That the rows have no density comes before any figure."""
    density = (
        checkup.get("density", {})
        if isinstance(checkup, dict)
        else getattr(checkup, "density", None)
    )
    problems = (
        density.get("problems", [])
        if isinstance(density, dict)
        else getattr(density, "problems", [])
    )
    warning = (
        "These rows have no density, so the figures in nats below do not say how good the flow is."
    )
    return [Words([warning, *problems], "verdict")] if problems else []


def _tags(flow: Flow, table: Table, *, result: FitResult, held: Rows | None) -> list[str]:
    contexts = f" given {', '.join(table.schema.context_names)}" if table.schema.context else ""
    return [
        flow.card.model or "flow",
        f"{len(table.schema.columns):,} columns{contexts}",
        f"{result.rows.get('train', 0):,} training rows",
        f"{0 if held is None else held.total:,} held-out rows",
    ]


def _compared(training: Rows, held: Rows | None, seed: int) -> tuple[Floats, Floats | None, str]:
    """The rows that samples are held against, and their contexts."""
    if held is not None and len(held) >= ENOUGH:
        x = held.x
        context = held.context
        which = "held-out rows"
    else:
        parts = [training, *([held] if held is not None else [])]
        x = np.concatenate([p.x for p in parts])
        context = (
            None
            if training.context is None
            else np.concatenate([p.context for p in parts if p.context is not None])
        )
        which = "training rows" if held is None else "training and held-out rows"
    some = np.random.default_rng(seed).permutation(len(x))[:COMPARED]
    return x[some], None if context is None else context[some], which


def _loss(result: FitResult) -> Pictured:
    best = result.best.get("step")
    picture = plots.loss_curves(result.history, best if "nll" in result.best else None)
    if picture is None:
        return Pictured(None, ["The run left no losses to draw."])
    words = (
        "Training losses are averages over batches, with dropout if there is any; validation losses"
        " are of the averaged weights."
    )
    return Pictured(picture, [words], alt="loss curves")


def _histograms(table: Table, data: Floats, drawn: Floats, *, which: str) -> list[Part]:
    columns = table.schema.columns
    ks = np.array([ks_two(data[:, i], drawn[:, i]) for i in range(len(columns))])
    limit = critical(len(data), len(drawn))
    order = np.argsort(-np.nan_to_num(ks, nan=2.0), kind="stable")
    shown = [int(i) for i in (sorted(order[:DRAWN]) if len(columns) <= DRAWN else order[:DRAWN])]
    pictures = []
    for i in shown:
        support = columns[i].parsed
        uri = plots.histogram(
            data[:, i], drawn[:, i], positive=support.logarithmic, whole=support.whole
        )
        pictures.append(
            Card(columns[i].name, uri, caption=f"KS {ks[i]:.3f}", strong=bool(ks[i] > limit))
        )
    rest = [(columns[i].name, f"{ks[i]:.3f}") for i in order[DRAWN:]]
    above = int((ks > limit).sum())
    words = [
        f"{len(drawn):,} samples (line) against {len(data):,} {which} (filled). KS is the largest"
        " gap between the two distribution functions. If all were right about 1 column in 20 would"
        f" exceed {limit:.3f}; {above} of {len(columns)} do."
    ]
    if bad := int((~np.isfinite(drawn)).any(1).sum()):
        words.append(f"{bad} samples are not finite.")
    if rest:
        words.append(
            f"Drawn are the {DRAWN} columns with the largest KS; the others are in the table."
        )
    fold = [Fold(f"The other {len(rest):,} columns", Grid(("column", "KS"), rest))] if rest else []
    return [Words(words), Cards(pictures), *fold]


def _corner(table: Table, data: Floats, drawn: Floats) -> Pictured:
    names = table.schema.names
    drawn = drawn[np.isfinite(drawn).all(1)]
    if len(names) < 2:
        return Pictured(None, ["There is one column, so there are no pairs to draw."])
    if min(len(data), len(drawn)) < 3:
        return Pictured(None, ["There are too few rows to draw pairs of columns."])
    rho = ranks_correlation(data), ranks_correlation(drawn)
    chosen = most_dependent(rho[0])
    gap = np.abs(rho[0] - rho[1])
    i, j = sorted(int(k) for k in np.unravel_index(gap.argmax(), gap.shape))
    pick = np.ix_(chosen, chosen)
    data, drawn, labels = _logged(table, data=data[:POINTS], drawn=drawn[:POINTS], chosen=chosen)
    picture = plots.corner(data, drawn, labels, rho=(rho[0][pick], rho[1][pick]))
    which = "columns" if len(chosen) == len(names) else f"{len(chosen)} most dependent columns"
    words = [
        f"The {which}: data in blue, samples in orange. Figures are Spearman's rank correlations.",
        (
            f"Over all pairs of columns, samples and data differ most in that of {names[i]} and"
            f" {names[j]}: samples {rho[1][i, j]:+.2f}, data {rho[0][i, j]:+.2f}."
        ),
    ]
    return Pictured(picture, words, alt="corner plot of data and samples")


def _logged(
    table: Table, *, data: Floats, drawn: Floats, chosen: list[int]
) -> tuple[Floats, Floats, list[str]]:
    """The chosen columns, positive ones that range over orders of magnitude as logarithms, and
    their labels.
    """
    data, drawn, labels = data[:, chosen], drawn[:, chosen], [table.schema.names[k] for k in chosen]
    for i, k in enumerate(chosen):
        low, high = np.quantile(data[:, i], (0.01, 0.99))
        both_positive = min(data[:, i].min(), drawn[:, i].min()) > 0
        if table.schema.columns[k].parsed.logarithmic and high > 50 * low and both_positive:
            data[:, i], drawn[:, i], labels[i] = (
                np.log10(data[:, i]),
                np.log10(drawn[:, i]),
                f"log10 {labels[i]}",
            )
    return data, drawn, labels


def _digits(x: Floats) -> list[int]:
    """Significant digits that tell the values of each column (N, D) apart: more for a small spread
    around a large number.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        extra = np.log10(np.abs(np.median(x, axis=0)) / np.maximum(x.std(0), 1e-300))
    return [int(d) for d in np.clip(np.nan_to_num(np.ceil(extra), neginf=0.0) + 4, 6, 16)]


def _latent(flow: Flow, rows: Rows, which: str) -> Pictured:
    z, names = normal_scores(flow.base, rows.z[rows.finite()].reshape(int(rows.finite().sum()), -1))
    if not z.size:
        return Pictured(
            None,
            [
                "The base is not a normal distribution, or there are no rows of a finite density:"
                " nothing to compare."
            ],
        )
    ks = ks_normals(z)
    limit = critical(len(z))
    order = np.argsort(-ks, kind="stable")[:WORST]
    grid = [
        (
            names[i],
            number(float(z[:, i].mean()), 3),
            number(float(z[:, i].std()), 3),
            f"{ks[i]:.3f}",
        )
        for i in order
    ]
    words = [
        (
            f"If the flow were the truth, the latents of {which} rows would be standard normal:"
            f" over all, their mean is {number(float(z.mean()), 3)} and their standard deviation"
            f" {z.std():.3f}, against 0 and 1."
        ),
        f"About 1 entry in 20 would have a KS above {limit:.3f}; {int((ks > limit).sum())} of"
        f" {len(names)} do. " + ("All entries:" if len(names) <= WORST else f"The {WORST} worst:"),
    ]
    strong = frozenset(k for k, i in enumerate(order) if ks[i] > limit)
    table = Grid(("latent entry", "mean", "sd", "KS"), grid, strong)
    return Pictured(
        plots.latent(z.ravel()), words, grid=table, alt="histogram and quantiles of the latents"
    )


def _unlikely(table: Table, training: Rows, held: Rows | None) -> Pictured:
    parts = [(training, "training"), *([(held, "held out")] if held is not None else [])]
    x = np.concatenate([p.x for p, _ in parts])
    logs = np.concatenate([p.log_prob for p, _ in parts])
    lines = np.concatenate([p.lines for p, _ in parts])
    marks = np.repeat([m for _, m in parts], [len(p) for p, _ in parts])
    worst = np.argsort(logs, kind="stable")[:WORST]
    names = table.schema.names
    odd = unusual(x[worst], x)
    digits = _digits(x)
    shown = list(range(min(CELLS, len(names))))
    unit = "line" if table.source.lower().endswith((".csv", ".tsv", ".txt", ".gz")) else "row"
    rows = [
        (
            f"{lines[r]:,}",
            str(marks[r]),
            number(float(logs[r]), 2),
            f"{names[o]} = {x[r, o]:.{digits[o]}g}",
            *(f"{x[r, k]:.{digits[k]}g}" for k in shown),
        )
        for r, o in zip(worst, odd, strict=True)
    ]
    total = sum(p.total for p, _ in parts)
    words = [
        f"Of {len(x):,}{'' if len(x) == total else f' (out of {total:,})'} rows these have the"
        " smallest log-density: errors in the data, rare cases, or regions where the flow is wrong."
        " The most unusual column is the one that lies farthest from its median, in robust units"
        " of spread; a row can also be unlikely by a combination of ordinary values."
    ]
    if len(names) > len(shown):
        words.append(f"Shown are the first {len(shown)} of {len(names):,} columns.")
    header = (unit, "part", "log-density", "most unusual column", *(names[k] for k in shown))
    return Pictured(None, words, grid=Grid(header, rows))
