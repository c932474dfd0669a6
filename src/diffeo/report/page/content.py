"""What a report says, before it is laid out: plain text, figures and pictures, nothing of it HTML
yet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Literal, TypeAlias

__all__ = [
    "Beside",
    "Card",
    "Cards",
    "Code",
    "Fold",
    "Grid",
    "Heading",
    "Page",
    "Part",
    "Pictured",
    "Section",
    "Words",
    "number",
    "plus_minus",
    "truncated",
]


@dataclass(frozen=True)
class Words:
    """A paragraph for each sentence; a `verdict` stands out, a `note` stands back."""

    sentences: Sequence[str]
    kind: Literal["", "verdict", "note"] = ""


@dataclass(frozen=True)
class Grid:
    """A table of words: a header and rows of the same length. `strong` holds the numbers of the
    rows that stand out.
    """

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    strong: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Pictured:
    """A wide picture as a data URI (or None), with sentences about it and a table."""

    picture: str | None
    words: list[str]
    _: KW_ONLY
    grid: Grid | None = None
    alt: str = ""


@dataclass(frozen=True)
class Card:
    """A picture as a data URI, with a name and a few words under it."""

    name: str
    picture: str
    _: KW_ONLY
    caption: str = ""
    strong: bool = False
    alt: str = "histogram"


@dataclass(frozen=True)
class Cards:
    """Cards side by side, as many in a row as there is room for: plots, larger tiles, small ones,
    or strips, one a row.
    """

    cards: Sequence[Card]
    kind: Literal["plots", "tiles", "small", "strips"] = "plots"


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True)
class Fold:
    """A table that is folded away until it is asked for."""

    summary: str
    grid: Grid


@dataclass(frozen=True)
class Code:
    """Lines to copy."""

    text: str


@dataclass(frozen=True)
class Beside:
    """Parts in columns beside each other, below each other where the screen is narrow."""

    columns: Sequence[Sequence[Part]]


Part: TypeAlias = Words | Grid | Pictured | Cards | Heading | Fold | Code | Beside


@dataclass(frozen=True)
class Section:
    """A title and what stands below it."""

    title: str
    parts: Sequence[Part]


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything on the page, in its order."""

    title: str
    source: str
    tags: Sequence[str]
    sections: Sequence[Section]


def truncated(text: str, limit: int = 160) -> str:
    """The text, or its beginning when it is longer than `limit`."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def number(value: float | None, digits: int = 4) -> str:
    """A figure for people: `digits` decimals, or significant ones where that would be all noughts
    or too long.

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
