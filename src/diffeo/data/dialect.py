"""What a delimited text file looks like from its first lines: delimiter, header, decimal mark, kinds of cells."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..core.errors import DataError
from .records import encoding_of, first_bytes
from .schema import refuse_duplicates, shorten

__all__ = ["MISSING", "Dialect", "read_dialect"]

DELIMITERS = (",", ";", "\t", "|")
MISSING = ("", "NA", "N/A", "n/a", "NULL", "null", "None", "none")  # cells read as empty
SAMPLE = 1000  # records looked at
DIGITS = "[0-9]+(_[0-9]+)*"  # DuckDB and Python read 1_000 as a thousand
NUMBER = re.compile(rf"[+-]?(({DIGITS}\.?({DIGITS})?|\.{DIGITS})(e[+-]?{DIGITS})?|nan|inf(inity)?)")

Cell = Literal["integer", "boolean", "real", "text"]


@dataclass(frozen=True)
class Dialect:
    """How to read the file: `names` from its first record, and for each column the kind of its first cells."""

    delimiter: str
    decimal: str
    names: tuple[str, ...]
    cells: tuple[Cell, ...]
    text: dict[str, str]  # text columns with the first cell that is no number


def read_dialect(path: Path) -> Dialect:
    """Look at the first megabyte. Raises `DataError` for a file that is no table with column names."""
    head = first_bytes(path)
    _refuse_binary(path, head)
    text = head.decode(encoding_of(head), "replace").replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise DataError(f"{path}: the file is empty; it needs a line of column names and rows of numbers")
    if len(head) == 1 << 20 and "\n" in text:
        text = text[: text.rindex("\n")]
    delimiter = _delimiter(text)
    rows = _records(text, delimiter)
    names = tuple(n.strip() or f"column{i + 1}" for i, n in enumerate(rows[0]))
    rows = [r for r in rows[1:] if len(r) == len(names)]
    decimal = "," if delimiter != "," and _comma_decimals(rows) else "."
    _refuse_header(path, names, rows, decimal)
    cells, samples = [], {}
    for name, column in zip(names, _columns(rows, len(names)), strict=True):
        kind, example = kind_of(column, decimal)
        cells.append(kind)
        if kind == "text":
            samples[name] = example
    return Dialect(delimiter, decimal, names, tuple(cells), samples)


def _columns(rows: list[list[str]], width: int) -> list[list[str]]:
    return [[row[j].strip() for row in rows] for j in range(width)]


def _records(text: str, delimiter: str) -> list[list[str]]:
    found: list[list[str]] = []
    csv.field_size_limit(1 << 30)
    for row in csv.reader(text.split("\n")[: 2 * SAMPLE], delimiter=delimiter):
        if row:
            found.append(row)
        if len(found) > SAMPLE:
            break
    return found


def _delimiter(text: str) -> str:
    """The delimiter that cuts the most lines like the header; of equals, the one with the most fields."""
    start = "\n".join(text.split("\n")[:200])
    scores = []
    for delimiter in DELIMITERS:
        rows = _records(start, delimiter)
        width = len(rows[0])
        agree = sum(len(r) == width for r in rows) / len(rows)
        scores.append((width > 1, round(agree, 1), width))
    return DELIMITERS[max(range(len(DELIMITERS)), key=lambda i: scores[i])]


def _comma_decimals(rows: Sequence[Sequence[str]]) -> bool:
    cells = [c for row in rows for c in row]
    return sum(bool(re.fullmatch(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*", c)) for c in cells) > 0.1 * max(1, len(cells))


def is_number(cell: str, decimal: str = ".") -> bool:
    """True for what the intake reads as a number, NaN and infinity among them.

    >>> is_number(" 1e400 "), is_number("1_000"), is_number("0x10")
    (True, True, False)
    """
    cell = cell.strip().lower()
    if decimal == ",":
        cell = cell.replace(",", ".")
    return NUMBER.fullmatch(cell) is not None


def kind_of(cells: Sequence[str], decimal: str) -> tuple[Cell, str]:
    """The kind of a column's cells and, for text, the first cell that is no number."""
    filled = [c for c in cells if c not in MISSING]
    numbers = [is_number(c, decimal) for c in filled]
    if filled and all(c.lower() in ("true", "false") for c in filled):
        return "boolean", ""
    if sum(numbers) < 0.5 * len(filled):
        return "text", filled[numbers.index(False)]
    good = [c for c, number in zip(filled, numbers, strict=True) if number]
    if good and all(re.fullmatch("[+-]?[0-9]+", c) for c in good):
        return "integer", ""
    return "real", ""


def _refuse_header(path: Path, names: tuple[str, ...], rows: list[list[str]], decimal: str) -> None:
    if all(is_number(n, decimal) for n in names):
        raise DataError(
            f"{path}: line 1 holds numbers ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}), "
            "so the file seems to have no header; put a first line of column names, such as x0,x1,x2"
        )
    other = next((mark for mark in (":", "^", " ") if mark in names[0]), None)
    if len(names) == 1 and other is not None and rows and all(other in r[0].strip() for r in rows):
        raise DataError(
            f"{path}: only one column, named {shorten(names)}: its fields seem to be separated by {other!r}; "
            "separate them by a comma, semicolon, tab or |"
        )
    refuse_duplicates(str(path), names)


def _refuse_binary(path: Path, head: bytes) -> None:
    for magic, what in ((b"PAR1", "a Parquet file: name it .parquet"), (b"\x93NUMPY", "a NumPy file: name it .npy")):
        if head.startswith(magic):
            raise DataError(f"{path}: not a text table but {what}")
    if head.startswith(b"PK\x03\x04"):
        raise DataError(f"{path}: not a text table but a zip archive (a spreadsheet?); export it as CSV")
    if 0 in head[:65536] and not encoding_of(head).startswith("utf-16"):
        raise DataError(f"{path}: not a text table (it holds NUL bytes); give a CSV, Parquet or NumPy file")
