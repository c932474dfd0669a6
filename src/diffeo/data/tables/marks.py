"""How numbers are written in a table: the decimal mark and the thousands separator, and which of
them a file uses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

__all__ = ["GERMAN", "WORDS", "Choice", "Marks", "choose_marks", "excludes_groups"]

WORDS = {"": "none", ",": "comma", ".": "dot", " ": "space", "'": "apostrophe", "_": "underscore"}
# a no-break space separates as well as a plain one
WRITTEN = {" ": " \u00a0\u202f", "'": "'\u2019"}
SHARE = 0.5  # a column with fewer numbers among its cells is one of text
STRAY = 0.01  # a larger share of a column's cells is no slip of the pen
# so many cells like 76,586, beside plain ones below 1000, cannot be decimals by chance
GROUPED = 10
STARTS_AS_NUMBER = re.compile(r"\s*[+-]?[.,]?[0-9]")
MANY_DIGITS = re.compile(r"[+-]?(0[0-9]|[0-9]{4})[0-9]*")
FEW_DIGITS = re.compile(r"[+-]?[1-9][0-9]{0,2}")


@dataclass(frozen=True)
class Marks:
    """A decimal mark and a thousands separator; the latter stands between groups of exactly three
    digits or nowhere.

    >>> Marks(",", ".").value("-1.234.567,5")
    -1234567.5
    >>> [Marks().value(text) for text in ("1,234", " 1e400 ", "1_000")]
    [None, inf, None]
    """

    decimal: str = "."
    thousands: str = ""

    @property
    def separators(self) -> str:
        """All characters that may stand between groups of digits."""
        return WRITTEN.get(self.thousands, self.thousands)

    @cached_property
    def grouped(self) -> str:
        """A regular expression for the whole part of a number with at least one separator; ""
        without a separator.
        """
        return f"[1-9][0-9]{{0,2}}(?:[{self.separators}][0-9]{{3}})+" if self.thousands else ""

    @cached_property
    def number(self) -> str:
        """A regular expression for a whole cell, in any case of letters. The same for Python and
        for RE2.
        """
        mark = re.escape(self.decimal)
        digits = rf"(?:[0-9]+{mark}?[0-9]*|{mark}[0-9]+)(?:e[+-]?[0-9]+)?"
        grouped = rf"|{self.grouped}(?:{mark}[0-9]*)?" if self.thousands else ""
        return rf"[+-]?(?:{digits}{grouped}|nan|inf|infinity)"

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self.number, re.IGNORECASE | re.ASCII)

    def value(self, cell: str) -> float | None:
        """The number that is written in a cell, NaN and infinity among them; None if it is none."""
        cell = cell.strip(" \t\n\v\f\r")
        if self._pattern.fullmatch(cell) is None:
            return None
        for separator in self.separators:
            cell = cell.replace(separator, "")
        return float(cell.replace(self.decimal, "."))

    def __str__(self) -> str:
        return f"decimal={WORDS[self.decimal]},thousands={WORDS[self.thousands]}"


CANDIDATES = tuple(
    Marks(decimal, thousands)
    for decimal, thousands in (
        (".", ""), (",", ""),
        (".", ","), (",", "."),
        (".", " "), (",", " "),
        (".", "'"), (",", "'"),
        (".", "_"), (",", "_"),
    )
)  # fmt: skip

GERMAN = Marks(",", ".")


@dataclass(frozen=True)
class Choice:
    """The marks of a file, and the columns that other marks would read as other numbers.

    `doubt` maps the position of such a column to a cell of it and to the other marks. `settled` is
    True if a cell says that dots are no thousands separators.
    """

    marks: Marks
    doubt: dict[int, tuple[str, Marks]]
    settled: bool = False


def choose_marks(
    columns: Sequence[Sequence[str]], *, delimiter: str, decimal: str | None, thousands: str | None
) -> Choice:
    """The marks by which the most cells are numbers; `decimal` and `thousands` are given ones, or
    None.

    `columns` holds the cells of each column, without the missing ones. Where several marks serve
    equally well and differ in a value, whole numbers decide: a column with at least `GROUPED` cells
    such as 76,586, with others from 1 to 999 and with none of four digits together has thousands
    separators. If nothing decides, the columns at stake are in doubt. In a file separated by commas
    a dot is the decimal mark unless commas occur within cells.
    """
    written = {
        mark
        for column in columns
        for cell in column
        if STARTS_AS_NUMBER.match(cell)
        for mark in cell
    }
    settled = any(excludes_groups(c) for column in columns for c in column)
    known = _known(decimal, thousands)
    able = [m for m in known if _may_occur(m, written, delimiter)] or known
    tables = {m: [[m.value(c) for c in column] for column in columns] for m in able}
    counts = {m: [_count(column) for column in tables[m]] for m in able}
    best = max(sum(counts[m]) for m in able)
    tied = [m for m in able if sum(counts[m]) == best]
    rivals = {m: _differing(tables[tied[0]], tables[m]) for m in tied[1:]}
    rivals = {m: where for m, where in rivals.items() if where}
    if not rivals:
        return Choice(tied[0], {}, settled)
    plain = able[0]
    if counts[plain] != counts[tied[0]] and all(
        a - b <= STRAY * len(column)
        for a, b, column in zip(counts[tied[0]], counts[plain], columns, strict=True)
    ):
        return Choice(plain, {}, settled)  # a few odd cells: these are no numbers, and are counted
    separated = [m for m in (tied[0], *rivals) if _separates(m, columns)]
    if len(separated) == 1:
        return Choice(separated[0], {}, settled)
    other, where = next(iter(rivals.items()))
    return Choice(tied[0], {j: (columns[j][i], other) for j, i in where.items()}, settled)


def excludes_groups(cell: str) -> bool:
    """True if the dot in a number is its decimal mark, whatever the rest of the file holds.

    >>> excludes_groups("12.5"), excludes_groups("0.125"), excludes_groups("1.125")
    (True, True, False)
    """
    return "." in cell and Marks().value(cell) is not None and GERMAN.value(cell) is None


def _known(decimal: str | None, thousands: str | None) -> list[Marks]:
    """The candidates that agree with what is given; where both are, those marks alone."""
    if decimal is not None and thousands is not None:
        return [Marks(decimal, thousands)]
    fits = [
        m for m in CANDIDATES if decimal in (None, m.decimal) and thousands in (None, m.thousands)
    ]
    return fits or [Marks("." if thousands == "," else ",", thousands or "")]


def _may_occur(marks: Marks, written: set[str], delimiter: str) -> bool:
    """True if the file holds the separator, and nothing speaks against the decimal mark."""
    if marks.thousands and not written & set(marks.separators):
        return False
    if marks.decimal == ".":
        return True
    return "," in written or (marks.thousands == "." and delimiter != ",")


def _count(values: Sequence[float | None]) -> int:
    """How many cells are numbers, in a column of numbers."""
    good = sum(v is not None for v in values)
    return good if good >= SHARE * len(values) else 0


def _differing(a: list[list[float | None]], b: list[list[float | None]]) -> dict[int, int]:
    """For each column in which two readings differ in a value: the first cell where they do."""
    first = {}
    for j, (one, other) in enumerate(zip(a, b, strict=True)):
        if _count(one) or _count(other):
            pairs = enumerate(zip(one, other, strict=True))
            at = next((i for i, (v, w) in pairs if None not in (v, w) and repr(v) != repr(w)), None)
            if at is not None:
                first[j] = at
    return first


def _separates(marks: Marks, columns: Sequence[Sequence[str]]) -> bool:
    """True if a column is one of whole numbers that are separated where, and only where, they have
    four digits.
    """
    if not marks.thousands:
        return False
    grouped = re.compile(rf"[+-]?{marks.grouped}")
    for column in columns:
        cells = [c.strip() for c in column]
        if (
            sum(grouped.fullmatch(c) is not None for c in cells) >= GROUPED
            and any(FEW_DIGITS.fullmatch(c) for c in cells)
            and not any(MANY_DIGITS.fullmatch(c) for c in cells)
        ):
            return True
    return False
