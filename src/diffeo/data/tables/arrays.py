"""Tables that are already numbers: NumPy arrays and files, Parquet, and anything that speaks the
Arrow C stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.arrays import as_float64, is_empty, not_numbers, odd_cells, plain
from ...core.errors import DataError
from ..names import refuse_duplicates, shorten
from ..npy import Npz, one_line, open_npy
from .ledger import Block

__all__ = [
    "ArraySource",
    "ArrowSource",
    "arrow_source",
    "npy_source",
    "npz_source",
    "parquet_source",
]

BATCH = 65_536
MOST_COLUMNS = 65_536  # each is looked at by itself


class ArraySource:
    """A two-dimensional array, a structured one, or a list of columns; without names they are
    called x0, x1, ...

    A masked cell is an empty one. Raises `DataError` where the shape is no table's.
    """

    unit = "row"

    def __init__(
        self,
        label: str,
        array: Any,
        names: Sequence[str] | None = None,
        *,
        integral: frozenset[str] | None = None,
        text: Mapping[str, str] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        given = array if isinstance(array, list) else plain(array)
        fields = None if isinstance(given, list) else given.dtype.names
        self.label = label
        self.named = names is not None or fields is not None
        self.notes = notes
        self._columns = given if isinstance(given, list) else _columns(label, given)
        self.names = tuple(
            map(str, names if names is not None else fields or _numbered(len(self._columns)))
        )
        if len(self.names) != len(self._columns):
            raise DataError(
                f"{label}: {len(self.names)} names for {len(self._columns)} columns; give one for"
                " each"
            )
        refuse_duplicates(label, self.names)
        pairs = list(zip(self.names, self._columns, strict=True))
        odd = {n: words for n, c in pairs if (words := _not_numbers(c)) is not None}
        self.text: Mapping[str, str] = odd | dict(text or {})
        self.integral = (
            frozenset(n for n, c in pairs if _is_integral(c)) if integral is None else integral
        )

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """Every row, in order; `values` holds the named columns."""
        used = [self._columns[self.names.index(n)] for n in columns]
        for start in range(0, len(self._columns[0]), BATCH):
            part = [c[start : start + BATCH] for c in used]
            values = np.empty((len(part[0]), len(used)))
            for k, column in enumerate(part):
                values[:, k] = as_float64(f"{self.label}: column {columns[k]!r}", column, start + 1)
            yield numeric_block(values, start)


def _not_numbers(column: NDArray[Any]) -> str | None:
    """What a column holds other than numbers, in words, with the first such cell."""
    if column.ndim > 1:
        return f"of {column.shape[1:]} numbers in each row, which want columns of their own"
    if column.dtype.kind != "O":
        return not_numbers(column.dtype)
    odd = np.flatnonzero(odd_cells(column))
    if not len(odd):
        return None
    first = column[odd[0]]
    shown = repr(first)[:40]
    return (
        f"of objects that are not numbers ({len(odd):,} of {len(column):,} cells, first {shown} in"
        f" row {odd[0] + 1:,})"
    )


def _is_integral(column: NDArray[Any]) -> bool:
    """True for whole numbers and truth values: by its type, or of Python objects by all that are
    there.
    """
    if column.dtype.kind != "O":
        return column.dtype.kind in "biu"
    cells = np.ma.compressed(column) if isinstance(column, np.ma.MaskedArray) else column
    there = [v for v in cells if not is_empty(v) and v == v]
    return bool(there) and all(isinstance(v, (int, np.integer, np.bool_)) for v in there)


def numeric_block(values: NDArray[np.float64], start: int) -> Block:
    """Rows that needed no parsing; the first is data row `start` + 1."""
    lines = np.arange(start + 1, start + len(values) + 1)
    codes = np.zeros(len(values), dtype=np.int32)
    return Block(
        values=values,
        codes=codes,
        lines=lines,
        raw=lambda i: ",".join(f"{v:.17g}" for v in values[i]),
    )


def _numbered(count: int) -> list[str]:
    return [f"x{i}" for i in range(count)]


def _columns(label: str, array: Any) -> list[NDArray[Any]]:
    if array.dtype.names is not None and array.ndim == 1:
        return [array[n] for n in array.dtype.names]
    if array.ndim not in (1, 2) or array.dtype.names is not None:
        raise DataError(
            f"{label}: an array of shape {array.shape} is no table; give one of shape (rows,"
            " columns)"
        )
    array = array[:, None] if array.ndim == 1 else array
    if array.shape[1] == 0:
        raise DataError(f"{label}: the array has no columns; give one of shape (rows, columns)")
    if array.shape[1] > MOST_COLUMNS:
        raise DataError(
            f"{label}: {array.shape[1]:,} columns, and a table has at most {MOST_COLUMNS:,}; is it"
            " transposed?"
        )
    return [array[:, j] for j in range(array.shape[1])]


def npy_source(path: Path) -> ArraySource:
    """A `.npy` file, mapped into memory rather than read at once."""
    return ArraySource(str(path), open_npy(path))


def npz_source(path: Path) -> ArraySource:
    """A `.npz` file: its array `x` or `data`, or the only one; names from an optional array
    `columns`.
    """
    with Npz(path) as file:
        keys = [k for k in file.shapes if k != "columns"]
        key = next((k for k in ("x", "data") if k in keys), keys[0] if len(keys) == 1 else None)
        if key is None:
            raise DataError(
                f"{path}: holds the arrays {shorten(keys) or 'none'}; name the one to read 'x'"
            )
        names = (
            [str(n) for n in np.atleast_1d(file.read("columns"))]
            if "columns" in file.shapes
            else None
        )
        return ArraySource(str(path), file.read(key), names, notes=file.unread(key, "columns"))


class ArrowSource:
    """Record batches of an Arrow stream. Columns of numbers and booleans can be used, others are
    `text`.
    """

    unit = "row"
    named = True

    def __init__(self, label: str, schema: Any, batches: Any) -> None:
        import pyarrow.types as types

        self.label = label
        self._batches = batches
        fields = [f for f in schema if not f.name.startswith("__index_level_")]
        index_note = "the index of the pandas frame that was stored was not read"
        self.notes: tuple[str, ...] = (index_note,) if len(fields) < len(schema) else ()
        self.names = tuple(f.name for f in fields)
        refuse_duplicates(label, self.names)
        if not fields:
            raise DataError(f"{label}: the table has no columns")

        def numeric(t: Any) -> bool:
            return bool(
                types.is_integer(t)
                or types.is_floating(t)
                or types.is_boolean(t)
                or types.is_decimal(t)
            )

        self.text: Mapping[str, str] = {
            f.name: f"of type {f.type}, not numbers" for f in fields if not numeric(f.type)
        }
        self.integral = frozenset(
            f.name for f in fields if types.is_integer(f.type) or types.is_boolean(f.type)
        )

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """Every row, in order; `values` holds the named columns."""
        start = 0
        for batch in self._batches(list(columns)):
            for offset in range(0, batch.num_rows, BATCH):
                part = batch.slice(offset, BATCH)
                values = np.empty((part.num_rows, len(columns)))
                for k, name in enumerate(columns):
                    values[:, k] = to_float(part.column(name))
                yield numeric_block(values, start)
                start += part.num_rows


def to_float(column: Any) -> NDArray[np.float64]:
    """An Arrow array as float64, NaN where it is null."""
    import pyarrow as pa

    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    array: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy(
        zero_copy_only=False
    )
    return array


def parquet_source(path: Path) -> ArrowSource:
    """A Parquet file, read a batch at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def batches(columns: list[str]) -> Iterator[Any]:
        try:
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(batch_size=BATCH, columns=columns)
        except (pa.ArrowException, OSError) as e:
            raise DataError(
                f"{path}: the Parquet file is damaged ({one_line(e)}); write it again"
            ) from e

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
    except pa.ArrowException as e:
        raise DataError(f"{path}: cannot be read as Parquet ({one_line(e)}); write it again") from e
    return ArrowSource(str(path), schema, batches)


def arrow_source(label: str, table: Any) -> ArrowSource:
    """A polars, pyarrow or other object with `__arrow_c_stream__`; a polars series is a table of
    one column.
    """
    import pyarrow as pa

    try:
        reader = pa.RecordBatchReader.from_stream(
            table.to_frame() if hasattr(table, "to_frame") else table
        )
    except (pa.ArrowException, TypeError, OverflowError) as e:
        raise DataError(
            f"{label}: gives no Arrow stream ({one_line(e)}); give columns of numbers"
        ) from e
    return ArrowSource(label, reader.schema, lambda _columns: reader)
