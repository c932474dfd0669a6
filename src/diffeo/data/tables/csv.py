"""A delimited text file as a source of rows."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError
from ...core.wording import argument
from .cells import Parser
from .dialect import either_way, read_dialect
from .ledger import Block
from .marks import GERMAN, Marks, excludes_groups
from .records import Chunk, chunks
from .wanted import Wanted

__all__ = ["CsvSource"]

LOOK = 10_000  # cells of a chunk among which one decides, or none does


class CsvSource:
    """A delimited text file (`.csv`, `.tsv`, `.txt`, gzipped or not) with a line of column names.

    Under `header=none` there is no such line, and the columns are called x0, x1, ...
    """

    unit = "line"
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path, wanted: Wanted | None = None) -> None:
        self.path = path
        self.label = str(path)
        self.dialect = read_dialect(path, wanted)
        self.names = self.dialect.names
        self.named = self.dialect.header > 0
        self.text: Mapping[str, str] = {
            n: f"text ({t[:30]!r})" for n, t in self.dialect.text.items()
        }
        kinds = zip(self.names, self.dialect.cells, strict=True)
        self.integral = frozenset(n for n, kind in kinds if kind in ("integer", "boolean"))
        self._blank = 0

    def reading(self) -> tuple[str, ...]:
        """How the file is read, and which of its lines are no rows, for people."""
        d = self.dialect
        lines = [f"read with {argument('dialect', str(d))}"]
        if d.skipped:
            more = f" and {len(d.skipped) - 1:,} more" if len(d.skipped) > 1 else ""
            lines.append(f"not read, above the header: {d.skipped[0][:60]!r}{more}")
        if self._blank:
            lines.append(f"not read: {self._blank:,} blank lines")
        return tuple(lines)

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """Every data row of the file, in order; `values` holds the named columns."""
        used = [self.names.index(n) for n in columns]
        for name in columns:
            if name in self.dialect.doubt:
                raise DataError(
                    f"{self.label}: column {name!r} can be read in two ways:"
                    f" {self.dialect.doubt[name]}; say which"
                )
        d = self.dialect
        dots = _Dots(self, columns)
        self._blank = 0
        with (
            tempfile.TemporaryDirectory(prefix="diffeo-") as folder,
            closing(Parser(self.label, d, used, folder=folder)) as parser,
        ):
            for chunk in chunks(
                self.path, delimiter=d.delimiter, encoding=d.encoding, first=d.body
            ):
                filled = chunk.ends > chunk.starts
                # a blank line is no row, except where a row is one cell
                if len(self.names) > 1 and not filled.all():
                    self._blank += int(len(filled) - filled.sum())
                    chunk = chunk.select(filled)
                if len(chunk):
                    self._refuse_swallowed(chunk, used)
                    values, codes = parser.read(chunk)
                    dots.look(values, chunk)
                    yield Block(values=values, codes=codes, lines=chunk.lines, raw=chunk.text)
        dots.refuse()

    def fields(self, chunk: Chunk, i: int) -> list[str]:
        """The fields of record i of a chunk, as text."""
        return next(
            csv.reader(
                io.StringIO(chunk.text(i, 1 << 20), newline=""), delimiter=self.dialect.delimiter
            )
        )

    def _refuse_swallowed(self, chunk: Chunk, used: list[int]) -> None:
        """A quote in one row and another further on make one record of all rows between: refuse it.

        Its lines then are rows of the table, which those of a text of several lines are not.
        """
        for i in np.flatnonzero(chunk.last_lines > chunk.lines).tolist():
            lines = chunk.text(i, 1 << 20).replace('"', "").split("\n")
            lines = lines[:-1] if chunk.ends[i] - chunk.starts[i] > 1 << 20 else lines
            rows = [self._is_row(line, used) for line in lines]
            if rows[0] and rows[-1] and sum(rows) > 0.5 * len(rows):
                raise DataError(
                    f'{self.label}: line {chunk.lines[i]}: a quote (") opens here and closes only'
                    f" on line {chunk.last_lines[i]}, so the rows between are swallowed; close or"
                    " remove it"
                )

    def _is_row(self, line: str, used: list[int]) -> bool:
        cells = line.split(self.dialect.delimiter)
        if len(cells) != len(self.names) or len(cells) == 1:
            return False
        empty = {"", *self.dialect.missing}
        return all(
            cells[j].strip() in empty or self.dialect.marks.value(cells[j]) is not None
            for j in used
        )


class _Dots:
    """Looks for cells that say whether a dot is a decimal mark, in a file whose first lines do not.

    Where fields are not separated by commas, 1.234 may mean 1234: so it is if each dot has three
    digits after it.
    """

    def __init__(self, source: CsvSource, columns: Sequence[str]) -> None:
        self.source = source
        self.columns = columns
        self.open = source.dialect.marks == Marks() and not source.dialect.settled
        self.first: tuple[int, str, str] | None = None

    def look(self, values: NDArray[np.float64], chunk: Chunk) -> None:
        """Go through the values of a chunk until one decides."""
        if not self.open:
            return
        for i, j in np.argwhere(np.isfinite(values) & (values != np.floor(values)))[:LOOK]:
            name = self.columns[j]
            cell = self.source.fields(chunk, i)[self.source.names.index(name)].strip()
            if excludes_groups(cell):
                self.open = False
                return
            if self.first is None and GERMAN.value(cell) is not None:
                self.first = int(chunk.lines[i]), name, cell

    def refuse(self) -> None:
        """Raise `DataError` if there were such numbers and none decided."""
        if self.open and self.first is not None:
            line, name, cell = self.first
            words = either_way(cell, Marks(), GERMAN)
            raise DataError(
                f"{self.source.label}: line {line}, column {name!r} can be read in two ways:"
                f" {words}; say which"
            )
