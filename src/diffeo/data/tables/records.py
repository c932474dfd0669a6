"""A delimited text file as records: quotes, and the count of rows that everything else answers to.

The count is made here, without the CSV parser, so that rows the parser loses cannot go unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError
from .unpack import blocks

__all__ = ["CHUNK", "Chunk", "chunks"]

# bytes read at a time: large enough for two threads, small enough for a flat memory
CHUNK = 8 << 20
LIMIT = 4 * CHUNK  # a single record may not be longer than this
NEWLINE = 10
QUOTE_MARK = 34


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Whole records: record i is `data[starts[i]:ends[i]]`, begins on line `lines[i]` and ends on
    `last_lines[i]`.
    """

    data: bytes = field(repr=False)
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    lines: NDArray[np.int64]
    last_lines: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)

    def text(self, i: int, limit: int = 1000) -> str:
        """The text of record i, truncated after `limit` bytes."""
        raw = self.data[self.starts[i] : self.ends[i]]
        return raw[:limit].decode("utf-8", "replace") + ("..." if len(raw) > limit else "")

    def select(self, keep: NDArray[np.bool_]) -> Chunk:
        """The chunk of the records in the mask, without the bytes of the others."""
        edges = np.flatnonzero(np.diff(np.concatenate(([0], keep.astype(np.int8), [0]))))
        runs = [
            self.data[self.starts[a] : self.ends[b - 1]]
            for a, b in zip(edges[::2], edges[1::2], strict=True)
        ]
        sizes = self.ends[keep] - self.starts[keep] + 1
        ends = np.cumsum(sizes) - 1
        return Chunk(
            data=b"\n".join(runs),
            starts=ends - sizes + 1,
            ends=ends,
            lines=self.lines[keep],
            last_lines=self.last_lines[keep],
        )


def chunks(path: Path, *, delimiter: str, encoding: str, first: int = 1) -> Iterator[Chunk]:
    """The file's records from line `first` on. Blank lines are records of no length; those at the
    file's end are left out.

    Raises `DataError` for a quote that is never closed, naming the line where it opens.
    """
    carry = b""
    line = first
    pieces = blocks(path, encoding, CHUNK, skip=first - 1)
    piece = next(pieces, None)
    while piece is not None:
        following = next(pieces, None)
        data = carry + piece
        whole = data.rstrip(b"\n")
        blank = data[len(whole) + 1 :]  # these lines count only if more than blank lines follow
        data = whole if following is None else data[: len(data) - len(blank)]
        used, chunk = _whole_records(
            data, delimiter, line=line, last=following is None, label=str(path)
        )
        carry = data[used:] + blank
        piece = following
        line += data.count(b"\n", 0, used)
        if len(carry) > LIMIT:
            raise DataError(
                f"{path}: line {line}: no line end in {LIMIT >> 20} MiB; is this a table of text?"
            )
        if len(chunk):
            yield chunk


def _whole_records(
    data: bytes, delimiter: str, *, line: int, last: bool, label: str
) -> tuple[int, Chunk]:
    """How many bytes of `data` are whole records, and these records."""
    array = np.frombuffer(data, dtype=np.uint8)
    newlines = np.flatnonzero(array == NEWLINE)
    outside = newlines
    if b'"' in data:
        spans = quoted_spans(
            array, newlines, delimiter=ord(delimiter), last=last, line=line, label=label
        )
        outside = newlines[~_inside(newlines, spans)]
    ends = np.append(outside, len(data)) if last and data else outside
    starts = np.concatenate(([0], ends[:-1] + 1)).astype(np.int64) if len(ends) else ends
    used = int(ends[-1]) + 1 if len(ends) else 0
    lines = line + np.searchsorted(newlines, starts)
    last_lines = line + np.searchsorted(newlines, ends)
    return used, Chunk(
        data=data[:used], starts=starts, ends=ends, lines=lines, last_lines=last_lines
    )


Spans = tuple[NDArray[np.int64], NDArray[np.int64]]


def _inside(at: NDArray[np.int64], spans: Spans) -> NDArray[np.bool_]:
    opens, closes = spans
    k = np.searchsorted(opens, at) - 1
    return (
        (k >= 0) & (at < closes[np.maximum(k, 0)])
        if len(opens)
        else np.zeros(len(at), dtype=np.bool_)
    )


def quoted_spans(
    array: NDArray[np.uint8],
    newlines: NDArray[np.int64],
    *,
    delimiter: int,
    last: bool,
    line: int,
    label: str,
) -> Spans:
    """Where quoted fields open and close. A quote opens a field only at its start; elsewhere it is
    a plain character.

    An open field at the end of the data closes there: an error in the `last` piece of a file, else
    it is read on later.
    """
    marks = np.flatnonzero(array == QUOTE_MARK)
    before = np.where(marks > 0, array[marks - 1], NEWLINE)
    after = np.where(marks < len(array) - 1, array[np.minimum(marks + 1, len(array) - 1)], NEWLINE)
    starts = (before == delimiter) | (before == NEWLINE)
    stops = (after == delimiter) | (after == NEWLINE)
    spans = _regular(marks, starts, stops)
    if spans is None:
        spans = _irregular(marks, starts, stops, newlines=newlines, line=line, label=label)
    opens, closes = spans
    if len(closes) < len(opens):
        if last:
            raise unclosed(label, line + int(np.searchsorted(newlines, opens[-1])), None)
        closes = np.append(closes, len(array))
    return opens, closes


def _regular(
    marks: NDArray[np.int64], starts: NDArray[np.bool_], stops: NDArray[np.bool_]
) -> Spans | None:
    """The fast way, for a file in which every quote obeys the rules: opening and closing ones
    alternate.
    """
    escaped = np.diff(marks) == 1  # an escaped quote closes the field and opens it again at once
    opening = starts | np.concatenate(([False], escaped))
    closing = stops | np.concatenate((escaped, [False]))
    if opening[::2].all() and closing[1::2].all():
        return marks[::2], marks[1::2]
    return None


def _irregular(
    marks: NDArray[np.int64],
    starts: NDArray[np.bool_],
    stops: NDArray[np.bool_],
    *,
    newlines: NDArray[np.int64],
    line: int,
    label: str,
) -> Spans:
    """The slow way, mark by mark, for data with stray quotes."""
    opens: list[int] = []
    closes: list[int] = []
    where = marks.tolist()
    may_open = starts.tolist()
    may_close = stops.tolist()
    i = 0
    while i < len(where):
        at = where[i]
        if len(opens) == len(closes):
            if may_open[i]:
                opens.append(at)
        elif i + 1 < len(where) and where[i + 1] == at + 1:
            i += 1  # an escaped quote
        else:
            first, final = np.searchsorted(newlines, (opens[-1], at))
            if not may_close[i] and final > first:
                raise unclosed(label, line + int(first), line + int(final))
            closes.append(at)
        i += 1
    return np.array(opens, dtype=np.int64), np.array(closes, dtype=np.int64)


def unclosed(label: str, first: int, last: int | None) -> DataError:
    """The error for a quote that swallows lines."""
    until = "is never closed" if last is None else f"is not closed before line {last}"
    return DataError(
        f'{label}: line {first}: a quote (") opens here and {until}, swallowing the rows after it;'
        " close or remove it"
    )
