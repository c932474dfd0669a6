"""What a report says, before it is laid out: plain text, figures and pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["ColumnPicture", "Grid", "Pictured", "ReportContent", "number", "plus_minus"]


@dataclass(frozen=True)
class Grid:
    """A table of words: a header and rows of the same length. `strong` holds the numbers of the rows that stand out."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    strong: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Pictured:
    """A picture as a data URI (or None), with sentences about it and a table."""

    picture: str | None
    words: list[str]
    grid: Grid | None = None


@dataclass(frozen=True)
class ColumnPicture:
    """The histogram of one column."""

    name: str
    picture: str
    caption: str
    strong: bool


@dataclass(frozen=True)
class ReportContent:
    """Everything on the page, in its order; nothing in it is HTML yet."""

    title: str
    source: str
    verdict: list[str]
    """Sentences: what to think of the flow."""
    headline: Grid
    notes: list[str]
    loss: Pictured
    columns: list[ColumnPicture]
    columns_text: Pictured
    """Words about the histograms, and the table of the columns not drawn."""
    corner: Pictured
    latent: Pictured
    unlikely: Pictured
    choices: list[tuple[str, Grid]]
    checkup: Pictured | None
    shell: str
    python: str
    tags: list[str] = field(default_factory=list)


def number(value: float | None, digits: int = 4) -> str:
    """A figure for people: `digits` decimals, or significant ones where that would be all noughts or too long.

    >>> number(-12.34567), number(1.5e9), number(float("nan"))
    ('−12.3457', '1.500e+09', 'n/a')
    """
    if value is None or math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    text = f"{value:.{digits}f}" if size == 0 or 10.0**-digits <= size < 1e6 else f"{value:.3e}"
    return text.replace("-", "−", 1) if value < 0 else text


def plus_minus(value: float, error: float, digits: int = 3) -> str:
    """A figure with its standard error, `3.210 ± 0.040`."""
    return f"{number(value, digits)} ± {number(error, digits)}"
