"""What a delimited text file looks like from its first lines: delimiter, header, marks of numbers,
kinds of cells.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from ...core.errors import DataError
from ...core.wording import argument
from ..names import refuse_duplicates, shorten
from .marks import Marks, choose_marks
from .unpack import HEAD, encoding_of, first_bytes
from .wanted import Wanted, delimiter_word

__all__ = ["MISSING", "Cell", "Dialect", "either_way", "read_dialect"]

DELIMITERS = (",", ";", "\t", "|")
# cells read as empty, as empty ones are
MISSING = ("NA", "N/A", "n/a", "NULL", "null", "None", "none")
SAMPLE = 1000  # records looked at
MAX_COLUMNS = 10_000  # the parser's time grows with their square

Cell = Literal["integer", "boolean", "real", "text"]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How to read the file: its marks, where its rows begin, and for each column its name and the
    kind of its first cells.

    `header` is the line of the names, 0 if there are none, and `body` the first line after it.
    `doubt` says of columns which other reading is possible.
    """

    delimiter: str
    marks: Marks
    encoding: str
    header: int
    body: int
    missing: tuple[str, ...]
    names: tuple[str, ...]
    cells: tuple[Cell, ...]
    text: dict[str, str]  # text columns with the first cell that is no number
    doubt: dict[str, str] = field(default_factory=dict)
    settled: bool = False  # True if dots are certainly decimal marks
    skipped: tuple[str, ...] = ()  # the lines above the header

    def __str__(self) -> str:
        """As `read_table` takes it: `delimiter=semicolon,decimal=comma,thousands=none,...`."""
        header = self.header or "none"
        return (
            f"delimiter={delimiter_word(self.delimiter)},{self.marks},"
            f"encoding={self.encoding},header={header},"
            f"missing={'|'.join(self.missing)}"
        )


class Row(NamedTuple):
    """The fields of a record, its first line and the line after it."""

    fields: list[str]
    line: int
    after: int


def read_dialect(path: Path, wanted: Wanted | None = None) -> Dialect:
    """Look at the first megabyte. Raises `DataError` for a file that is no table, or not one with
    column names.

    What `wanted` says is taken as it is; the rest is detected.
    """
    wanted = wanted or Wanted()
    head = first_bytes(path)
    encoding = wanted.encoding or encoding_of(head)
    _refuse_binary(path, head, encoding)
    lines = _lines(path, head, encoding)
    first = _first_line(path, lines, wanted)
    # Excel's way to name the delimiter
    directive = re.fullmatch(r"sep=(.)", lines[first - 1].strip("\n "))
    if directive and wanted.header is None:
        first += 1
    delimiter = (
        wanted.delimiter or (directive[1] if directive else None) or _delimiter(lines, first)
    )
    rows = _rows(lines, delimiter, first=first, limit=SAMPLE + 100)
    if not rows:
        raise DataError(
            f"{path}: the file is empty; it needs a line of column names and rows of numbers"
        )
    rows = _with_commented_header(lines, rows, delimiter) if wanted.header is None else rows
    at = _header(rows, wanted)
    body = rows[at + 1 :]
    names = _names(
        path, rows[at].fields if at >= 0 else None, width=_width(rows), encoding=encoding
    )
    missing = MISSING if wanted.missing is None else wanted.missing
    columns = _columns(body, len(names), missing)
    choice = choose_marks(
        columns, delimiter=delimiter, decimal=wanted.decimal, thousands=wanted.thousands
    )
    kinds = [kind_of(column, choice.marks) for column in columns]
    if at >= 0 and wanted.header is None:
        _refuse_header(
            path, rows[at], kinds=[k for k, _ in kinds], columns=columns, marks=choice.marks
        )
        _refuse_one_column(path, names, body)
    doubt = {
        names[j]: either_way(cell, choice.marks, other) for j, (cell, other) in choice.doubt.items()
    }
    if len(names) == 1 and choice.marks.decimal == "," and not (wanted.delimiter or wanted.decimal):
        doubt |= _one_or_two(names[0], columns[0])
    return Dialect(
        delimiter=delimiter,
        marks=choice.marks,
        encoding=encoding,
        header=rows[at].line if at >= 0 else 0,
        body=rows[at].after if at >= 0 else rows[0].line,
        missing=missing,
        names=names,
        cells=tuple(kind for kind, _ in kinds),
        text={
            n: example for n, (kind, example) in zip(names, kinds, strict=True) if kind == "text"
        },
        doubt=doubt,
        settled=delimiter == "," or wanted.decimal is not None or choice.settled,
        skipped=tuple(
            t.strip()
            for t in lines[: (rows[at].line if at >= 0 else rows[0].line) - 1]
            if t.strip()
        ),
    )


def _lines(path: Path, head: bytes, encoding: str) -> list[str]:
    """The first lines of the file, without a last one that is cut off."""
    text = head.decode(encoding, "replace").replace("\r\n", "\n").replace("\r", "\n")
    if len(head) == HEAD:
        if "\n" not in text:
            raise DataError(
                f"{path}: line 1 is longer than {HEAD >> 20} MiB; is this a table of text?"
            )
        text = text[: text.rindex("\n")]
    if not text.strip():
        raise DataError(
            f"{path}: the file is empty; it needs a line of column names and rows of numbers"
        )
    return text.split("\n")[: 2 * SAMPLE]


def _first_line(path: Path, lines: list[str], wanted: Wanted) -> int:
    """The number of the first line to look at: the header, if it is known, else the first that is
    no comment.
    """
    if wanted.header:
        if wanted.header > len(lines) or not lines[wanted.header - 1].strip():
            given = argument("dialect", f"header={wanted.header}")
            raise DataError(
                f"{path}: line {wanted.header}, of {given}, is blank or missing; name another"
            )
        return wanted.header
    return next(
        (i for i, text in enumerate(lines, 1) if text.strip() and not text.startswith("#")), 1
    )


def _columns(rows: Sequence[Row], width: int, missing: Sequence[str]) -> list[list[str]]:
    """The stripped cells of each column, without the missing ones."""
    whole = [row.fields for row in rows if len(row.fields) == width]
    empty = {"", *missing}
    return [[c for row in whole if (c := row[j].strip()) not in empty] for j in range(width)]


def _rows(lines: list[str], delimiter: str, *, first: int, limit: int) -> list[Row]:
    """At most `limit` records from line `first` on, without blank ones."""
    rows: list[Row] = []
    csv.field_size_limit(1 << 30)
    reader = csv.reader((text + "\n" for text in lines[first - 1 :]), delimiter=delimiter)
    line = first
    for fields in reader:
        if fields:
            rows.append(Row(fields, line, first + reader.line_num))
        line = first + reader.line_num
        if len(rows) >= limit:
            break
    return rows


def _delimiter(lines: list[str], first: int) -> str:
    """The delimiter with the fewest lines above its header, then the one that cuts most records
    alike, then most fields.
    """
    scores = []
    for delimiter in DELIMITERS:
        rows = _rows(lines, delimiter, first=first, limit=200)
        width = _width(rows)
        start = next(i for i, row in enumerate(rows) if len(row.fields) == width)
        # else a column of numbers such as 1,5 below its name
        names = start == 0 or not _numbers(rows[start].fields)
        agree = sum(len(row.fields) == width for row in rows) / len(rows)
        scores.append((width > 1 and names, -start, round(agree, 1), width if names else 1))
    return DELIMITERS[max(range(len(DELIMITERS)), key=lambda i: scores[i])]


def _width(rows: Sequence[Row]) -> int:
    """The most frequent number of fields, of equals the largest."""
    counts = Counter(len(row.fields) for row in rows)
    return max(counts, key=lambda width: (counts[width], width))


def _numbers(fields: Sequence[str]) -> bool:
    """True if every field is a number in one way of writing or another."""
    return all(
        Marks(".", ",").value(f) is not None or Marks(",", ".").value(f) is not None for f in fields
    )


def _with_commented_header(lines: list[str], rows: list[Row], delimiter: str) -> list[Row]:
    """The records, and before them the names that `numpy.savetxt` writes into a comment just above
    the first numbers.
    """
    line = rows[0].line - 1
    if line < 1 or not lines[line - 1].startswith("#") or not _numbers(rows[0].fields):
        return rows
    names = next(csv.reader([lines[line - 1].lstrip("# ")], delimiter=delimiter), [])
    fits = len(names) == len(rows[0].fields) and not _numbers(names)
    return [Row(names, line, line + 1), *rows] if fits else rows


def _header(rows: list[Row], wanted: Wanted) -> int:
    """The position of the header among the records, -1 if there is none. Lines of titles stand
    above it.

    It is the first record with as many fields as the rows have, unless that is a row of numbers
    already: then the names do not fit the rows, and these are refused one by one.
    """
    if wanted.header == 0:
        return -1
    if wanted.header:
        return 0
    width = _width(rows)
    at = next(i for i, row in enumerate(rows) if len(row.fields) == width)
    if at > 0 and _numbers(rows[at].fields):
        at -= 1
    filled = [f for f in rows[at].fields if f.strip()]
    if at + 1 < len(rows) and _names_like(rows[at + 1].fields, width):
        # a title in the first cell of an otherwise empty row
        alone = width > 2 and len(filled) == 1
        # or one with a blank line below it
        apart = width > 1 and rows[at].after < rows[at + 1].line
        at += alone or apart
    return at


def _names_like(fields: Sequence[str], width: int) -> bool:
    return (
        len(fields) == width
        and all(f.strip() for f in fields)
        and not any(_numbers([f]) for f in fields)
    )


def _names(path: Path, header: list[str] | None, *, width: int, encoding: str) -> tuple[str, ...]:
    """Names of the columns: those of the header, `column3` where it has none, or x0, x1, ...
    without a header.
    """
    if header is None:
        return tuple(f"x{i}" for i in range(width))
    if len(header) > MAX_COLUMNS:
        raise DataError(
            f"{path}: {len(header):,} columns; at most {MAX_COLUMNS:,} are read: leave some out, or"
            " give a .npy file"
        )
    names = tuple(n.strip() or f"column{i + 1}" for i, n in enumerate(header))
    damaged = next((n for n in names if "\ufffd" in n), None)
    if damaged is not None:
        raise DataError(
            f"{path}: column name {damaged!r} is not valid {encoding}; name another with"
            f" {argument('dialect', 'encoding=...')}"
        )
    refuse_duplicates(str(path), names)
    return names


def kind_of(cells: Sequence[str], marks: Marks) -> tuple[Cell, str]:
    """The kind of a column's cells, none of them missing, and for text the first cell that is no
    number.
    """
    numbers = [marks.value(c) is not None for c in cells]
    if cells and all(c.lower() in ("true", "false") for c in cells):
        return "boolean", ""
    if sum(numbers) < 0.5 * len(cells):
        return "text", cells[numbers.index(False)]
    whole = re.compile(rf"[+-]?(?:[0-9]+{'|' + marks.grouped if marks.thousands else ''})")
    good = [c for c, number in zip(cells, numbers, strict=True) if number]
    return ("integer" if good and all(whole.fullmatch(c) for c in good) else "real"), ""


def either_way(cell: str, one: Marks, other: Marks) -> str:
    """What a cell is by either marks, and how to choose.

    >>> either_way("1,234", Marks(","), Marks(".", ","))
    "'1,234' is 1.234 with dialect='decimal=comma,...' and 1234 with dialect='decimal=dot,...'"
    """
    return (
        f"{cell!r} is {one.value(cell):g} with {argument('dialect', str(one))} and"
        f" {other.value(cell):g} with {argument('dialect', str(other))}"
    )


def _one_or_two(name: str, cells: Sequence[str]) -> dict[str, str]:
    """Doubt about a single column such as 1,7 below one name: decimals, or two columns under a
    title.
    """
    if not cells or not all(re.fullmatch("[+-]?[0-9]+,[+-]?(0|[1-9][0-9]*)", c) for c in cells):
        return {}
    one = argument("dialect", "delimiter=semicolon,decimal=comma")
    two = argument("dialect", "delimiter=comma,header=none")
    return {
        name: (
            f"{cells[0]!r} is one number with {one} and two with {two} or a header that names both"
        )
    }


def _refuse_header(
    path: Path, header: Row, *, kinds: list[Cell], columns: list[list[str]], marks: Marks
) -> None:
    """Raise `DataError` if the header looks like one more row: numbers above every column of
    numbers.

    Years or running numbers may be names of columns beside others whose names are words:
    `country,2019,2020`.
    """
    fields = [f.strip() for f in header.fields]
    values = [marks.value(f) for f in fields]
    above = [v for v, kind in zip(values, kinds, strict=True) if kind != "text"]
    numbers = [v for v in above if v is not None]
    words = [j for j, kind in enumerate(kinds) if kind == "text"]
    counted = all(v.is_integer() for v in numbers) and numbers == sorted(set(numbers))
    recurs = any(fields[j] in columns[j] for j in words)
    if above and len(numbers) == len(above) and not (words and counted and not recurs):
        raise DataError(
            f"{path}: line {header.line} holds numbers"
            f" ({', '.join(fields[:3])}{', ...' if len(fields) > 3 else ''}), so the file seems to"
            " have no header; put a first line of column names, such as x0,x1,x2, or say"
            f" {argument('dialect', 'header=none')}, or"
            f" {argument('dialect', f'header={header.line}')} if these are the names"
        )


def _refuse_one_column(path: Path, names: tuple[str, ...], rows: list[Row]) -> None:
    other = next((mark for mark in (":", "^", " ") if mark in names[0]), None)
    if (
        len(names) == 1
        and other is not None
        and rows
        and all(other in row.fields[0].strip() for row in rows)
    ):
        word = delimiter_word(other)
        raise DataError(
            f"{path}: only one column, named {shorten(names)}: its fields seem to be separated by"
            f" {other!r}; say {argument('dialect', f'delimiter={word}')}, or separate them by a"
            " comma, semicolon, tab or |"
        )


PACKED = (
    (b"PAR1", "a Parquet file: name it .parquet"),
    (b"\x93NUMPY", "a NumPy file: name it .npy"),
    (b"PK\x03\x04", "a zip archive (a spreadsheet?); export it as CSV"),
    (b"\x1f\x8b", "packed twice by gzip; unpack it once"),
    (b"BZh", "packed by bzip2; unpack it"),
    (b"\xfd7zXZ", "packed by xz; unpack it"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd; unpack it"),
)


def _refuse_binary(path: Path, head: bytes, encoding: str) -> None:
    for magic, what in PACKED:
        if head.startswith(magic):
            raise DataError(f"{path}: not a text table but {what}")
    if 0 in head and not encoding.replace("_", "-").startswith(("utf-16", "utf-32")):
        raise DataError(
            f"{path}: not a text table (it holds NUL bytes); give a CSV, Parquet or NumPy file"
        )
