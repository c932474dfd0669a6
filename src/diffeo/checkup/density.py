"""Do these rows have a density? Not where a value of a real column repeats, nor where other columns
determine one.

A likelihood then grows without end as the flow narrows on them, and its figure says how far
training went, not how good it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.wording import argument
from ..supports import Support

__all__ = ["Density", "DensityWarning", "density"]

Floats = NDArray[np.float64]
LEAST_ROWS = 20  # below which nothing can be concluded
MOST_ROWS = 20_000
SHARE = 0.025  # of the rows, from which a repeated value matters
LEAST_REPEATS = 4  # of a value, below which it may be chance
FEW_VALUES = 10  # a column of so many values is one of categories
NEIGHBOURS = 12  # values on each side that a repeated one is compared with
EXACT = 1e-6  # of a column's standard deviation: what a regression may leave of a determined column
SMOOTH = 1e-3  # the same, of interpolation between neighbours
MOST_COLUMNS = 200  # above which columns are not compared with each other
COPIES = 0.05  # share of rows that repeat another


class DensityWarning(UserWarning):
    """The rows that a flow is fitted to have no density."""


@dataclass(frozen=True)
class Density:
    """`problems` are reasons why there is no density, `notes` what is worth knowing; `atoms` and
    `determined` are their figures.

    `atoms`: column, value, its share of the rows, and `gap`, the distance to the next value in
    standard deviations. `determined`: column, `by` what, and `gap`, what is left of it in standard
    deviations. `copies`: share of rows that repeat another.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    atoms: list[dict[str, Any]] = field(default_factory=list)
    determined: list[dict[str, Any]] = field(default_factory=list)
    copies: float = 0.0

    @property
    def ok(self) -> bool:
        """True when nothing speaks against a density."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"ok": self.ok, **asdict(self)}

    def lines(self) -> list[str]:
        """For people: what is wrong first."""
        return [
            *(f"no density: {text}" for text in self.problems),
            *(f"note: {text}" for text in self.notes),
        ]


def density(
    x: Floats,
    kinds: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    *,
    context: Floats | None = None,
    most_columns: int = MOST_COLUMNS,
) -> Density:
    """Look for what a density cannot have in rows x (N, D) with columns of these `kinds` and
    contexts (N, C).

    Integer columns have probabilities, not densities: they may repeat. Looks at 20,000 rows at
    most, spread evenly; where there are more than `most_columns` these are not compared with each
    other.

    >>> rain = np.where(np.arange(100) % 2, 0.0, np.random.default_rng(0).normal(size=100))
    >>> density(rain[:, None], names=["rain"]).problems[0]
    "column 'rain' is 0 in 50.0% of the rows: ..."
    """
    every = max(1, -(-len(x) // MOST_ROWS))
    x = np.asarray(x, dtype=np.float64)[::every]
    given = (
        np.empty((len(x), 0))
        if context is None
        else np.asarray(context, dtype=np.float64)[::every].reshape(len(x), -1)
    )
    finite = np.isfinite(x).all(1) & np.isfinite(given).all(1)
    x, given = x[finite], given[finite]
    result = Density()
    if len(x) < LEAST_ROWS:
        return result
    real = [j for j in range(x.shape[1]) if kinds is None or not Support.parse(kinds[j]).whole]
    named = (
        [str(name) for name in names] if names is not None else [f"x{j}" for j in range(x.shape[1])]
    )
    lumpy = {j for j in real if _repeats(x[:, j], named[j], result)}
    if x.shape[1] + given.shape[1] <= most_columns:
        _determined(x, given, [j for j in real if j not in lumpy], named=named, result=result)
    copies = 1 - len(np.unique(np.hstack((x, given)), axis=0)) / len(x)
    free = [j for j in real if j not in lumpy]
    if (
        free
        and x.shape[1] > 1
        and copies >= COPIES
        and copies > 0.5 * min(1 - len(np.unique(x[:, j])) / len(x) for j in free)
    ):
        result.problems.append(
            f"{copies:.1%} of the rows repeat another row exactly: keep one of each, or count them"
        )
    return replace(result, copies=copies)


def _repeats(x: Floats, name: str, result: Density) -> bool:
    """Note the values of one column that repeat far more often than those beside them."""
    values, counts = np.unique(x, return_counts=True)
    spread = float(np.std(x / max(np.abs(x).max(), 1e-300)) * max(np.abs(x).max(), 1e-300)) or 1.0
    if len(values) <= FEW_VALUES and len(x) >= 5 * len(values):
        top = int(counts.argmax())
        gap = float(np.diff(values).min() / spread) if len(values) > 1 else 0.0
        atom = {
            "column": name,
            "value": float(values[top]),
            "share": counts[top] / len(x),
            "gap": gap,
        }
        result.atoms.append(atom)
        what = "one value" if len(values) == 1 else f"{len(values)} values"
        result.problems.append(
            f"column {name!r} takes {what} only ({values[top]:g} in {atom['share']:.1%} of the"
            f" rows): {_advice(name, values)}"
        )
        return True
    heavy = [
        k
        for k in np.argsort(-counts, kind="stable")[:20]
        if counts[k] >= LEAST_REPEATS and _stands_out(values, counts, int(k), rows=len(x))
    ]
    for k in heavy:
        beside = [abs(values[k] - values[i]) for i in (k - 1, k + 1) if 0 <= i < len(values)]
        atom = {
            "column": name,
            "value": float(values[k]),
            "share": counts[k] / len(x),
            "gap": float(min(beside) / spread),
        }
        result.atoms.append(atom)
        result.problems.append(
            f"column {name!r} is {values[k]:g} in {atom['share']:.1%} of the rows: the same value"
            f" again and again ({min(beside):.3g} from the next one), {_advice(name, values[[k]])}"
        )
    if not heavy and len(values) < 0.5 * len(x):
        result.notes.append(
            f"column {name!r} has {len(values):,} values in {len(x):,} rows, a grid of about"
            f" {np.median(np.diff(values)):.3g}: a density can narrow on its points"
        )
    return bool(heavy)


def _advice(name: str, values: Floats) -> str:
    if (values == np.floor(values)).all() and len(values) > 1:
        return (
            f"declare {argument('columns', {name: 'integer'})}, or leave it out with"
            f" {argument('drop', [name])}"
        )
    return (
        "model those rows apart, leave them out, or leave the column out with"
        f" {argument('drop', [name])}"
    )


def _stands_out(values: Floats, counts: NDArray[np.int64], k: int, *, rows: int) -> bool:
    """Does value k repeat too often for a grid, by the repeats of its neighbours, or stand alone
    beyond all others?
    """
    count = int(counts[k])
    extra = counts - 1.0
    beside = np.delete(extra[max(0, k - NEIGHBOURS) : k + NEIGHBOURS + 1], min(k, NEIGHBOURS))
    usual = float(np.sort(beside)[: max(1, len(beside) - 3)].mean()) if len(beside) else 0.0
    usual = max(usual, 0.5 * (extra.sum() - extra[k]) / max(1, len(counts) - 1))
    # with a grid, chance repeats a few
    often = count >= (LEAST_REPEATS if usual < 0.02 else 12) + 10 * usual
    inner = np.quantile(np.repeat(np.delete(values, k), np.delete(counts, k)), (0.005, 0.995))
    width = max(float(inner[1] - inner[0]), 1e-300)
    beyond = (
        k in (0, len(values) - 1) and max(inner[0] - values[k], values[k] - inner[1]) > 2 * width
    )
    peak = max((int(counts[i]) for i in (k - 1, k + 1) if 0 <= i < len(counts)), default=0)
    alone = count >= 6 * peak  # the densest point of a grid has neighbours nearly as dense
    return bool(often and ((alone and count >= SHARE * rows) or (beyond and count >= 0.002 * rows)))


def _determined(
    x: Floats, given: Floats, real: list[int], *, named: list[str], result: Density
) -> None:
    """Note columns that are exact functions of others, or of the context."""
    both = np.hstack((x, given))
    size = np.abs(both).max(0)
    unit = both / np.where(size > 0, size, 1.0)
    centred = unit - unit.mean(0)
    spread = centred.std(0)
    live = spread > 1e-13
    labels = [*named, *(f"context {k}" for k in range(given.shape[1]))]
    if both.shape[1] < 2:
        return
    seen: set[int] = set()
    for kind, columns in (
        ("linear", centred / np.where(live, spread, 1.0)),
        ("powers", _logs(both)),
    ):
        use = [
            j
            for j in range(columns.shape[1])
            if live[j] and np.isfinite(columns[:, j]).all() and j not in seen
        ]
        for target, others, gap in _regressed(columns[:, use], [u in real for u in use]):
            seen.add(use[target])
            _say(result, labels[use[target]], [labels[use[k]] for k in others], gap=gap, kind=kind)
    for target in real:
        if target in seen or not live[target]:
            continue
        for source in (
            j for j in range(both.shape[1]) if j != target and live[j] and j not in seen
        ):
            left = _function_of(both[:, source], centred[:, target] / spread[target])
            if left is not None:
                seen.add(target)
                _say(result, labels[target], [labels[source]], gap=left, kind="function")
                break


def _say(result: Density, name: str, by: list[str], *, gap: float, kind: str) -> None:
    result.determined.append({"column": name, "by": by, "gap": gap, "kind": kind})
    how = {
        "linear": "a sum of multiples of",
        "powers": "up to sign a product of powers of",
        "function": "a function of",
    }[kind]
    shown = ", ".join(repr(one) for one in by[:6]) + (
        f" and {len(by) - 6} more" if len(by) > 6 else ""
    )
    result.problems.append(
        f"column {name!r} is determined by other columns: it is {how} {shown} (all but {gap:.0e} of"
        f" its standard deviation): leave it out with {argument('drop', [name])} and compute it"
    )


def _logs(both: Floats) -> Floats:
    """Standardised log |x|, NaN for columns with a nought or without spread."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.abs(both))
        logs = np.where(np.isfinite(logs).all(0), logs, np.nan)
        centred = logs - logs.mean(0)
        spread = centred.std(0)
        return np.asarray(np.where(spread > 1e-9, centred / spread, np.nan))


def _regressed(columns: Floats, allowed: list[bool]) -> list[tuple[int, list[int], float]]:
    """(column, those it depends on, standard deviation left) for allowed columns that a regression
    leaves nothing of.

    The last allowed column of each dependence is named: then it is taken away and the rest are
    looked at again.
    """
    rows = len(columns)
    regressed = []
    left = list(range(columns.shape[1]))
    for target in reversed(range(columns.shape[1])):
        others = [k for k in left if k != target]
        if not allowed[target] or not others or rows < 3 * len(others):
            continue
        weights, *_ = np.linalg.lstsq(columns[:, others], columns[:, target], rcond=1e-10)
        gap = float((columns[:, target] - columns[:, others] @ weights).std())
        if gap < EXACT:
            regressed.append(
                (target, [k for k, w in zip(others, weights, strict=True) if abs(w) > 1e-4], gap)
            )
            left.remove(target)
    return regressed


def _function_of(source: Floats, target: Floats) -> float | None:
    """What interpolation between neighbours leaves of a column, if it shrinks with their distance
    as for smooth functions.
    """
    order = np.argsort(source, kind="stable")
    s = source[order]
    t = target[order]
    first = np.r_[True, np.diff(s) > 0]
    starts = np.flatnonzero(first)
    if len(starts) < len(s):  # equal sources must have equal targets
        high = np.maximum.reduceat(t, starts)
        low = np.minimum.reduceat(t, starts)
        if float((high - low).max()) > EXACT:
            return None
    s, t = s[starts], t[starts]
    if len(s) < 2 * LEAST_ROWS:
        return None
    gaps = []
    for step in (1, 2, 4):
        before = slice(0, -2 * step)
        at = slice(step, -step)
        after = slice(2 * step, None)
        weight = (s[at] - s[before]) / (s[after] - s[before])
        gaps.append(float(np.median(np.abs(t[before] + weight * (t[after] - t[before]) - t[at]))))
    shrinks = gaps[0] < gaps[1] / 2.5 and gaps[1] < gaps[2] / 2.5
    return gaps[0] if gaps[0] < SMOOTH and (shrinks or gaps[2] < 1e-12) else None
