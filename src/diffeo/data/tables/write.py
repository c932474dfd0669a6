"""Write rows to a file whose suffix names the format; the file appears whole or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError
from ...core.files import atomic
from ..names import refuse_duplicates

__all__ = ["write_table"]

Rows = NDArray[Any]


def write_table(
    path: str | os.PathLike[str],
    names: Sequence[str],
    rows: Rows | Iterable[Rows],
    *,
    integers: Iterable[str] = (),
) -> int:
    """Write rows (N, D), given whole or in batches, and return how many there were.

    The suffix chooses: .csv, .csv.gz, .tsv, .parquet, .npy, .npz (arrays `x` and `columns`).
    Columns in `integers` are written as integers, empty where not finite; other numbers so that
    they read back to the same value. A temporary file in the same folder is filled, synced and
    renamed. Raises `DataError` if that fails; `path` is then untouched.
    """
    path = Path(path)
    refuse_duplicates(str(path), list(names))
    whole = [n in set(integers) for n in names]
    write = _writer(path)
    try:
        with atomic(path) as temporary, temporary.open("wb") as file:
            count = write(file, list(names), _checked(path, rows, len(names)), whole=whole)
    except OSError as e:
        raise DataError(
            f"{path}: cannot be written ({e.strerror or e}); free some space or name another file"
        ) from e
    return count


class Writer(Protocol):
    """Writes batches of rows in one format, the `whole` columns as integers; how many rows."""

    def __call__(
        self, file: IO[bytes], names: list[str], batches: Iterator[Rows], *, whole: list[bool]
    ) -> int: ...


def _writer(path: Path) -> Writer:
    writers: dict[str, Writer] = {
        ".csv": _csv,
        ".csv.gz": _csv_gz,
        ".tsv": _tsv,
        ".parquet": _parquet,
        ".npy": _npy,
        ".npz": _npz,
    }
    for suffix, writer in writers.items():
        if path.name.lower().endswith(suffix):
            return writer
    raise DataError(f"{path}: unknown kind of file; use {', '.join(writers)}")


def _checked(path: Path, rows: Rows | Iterable[Rows], width: int) -> Iterator[Rows]:
    for batch in [rows] if isinstance(rows, np.ndarray) else rows:
        batch = batch[:, None] if batch.ndim == 1 else batch
        if batch.ndim != 2 or batch.shape[1] != width:
            raise DataError(f"{path}: rows of shape {batch.shape} do not fit {width} column names")
        yield batch


def _arrow(batch: Rows, names: list[str], whole: list[bool]) -> Any:
    import pyarrow as pa

    def column(values: Rows, integer: bool) -> Any:
        if not integer or values.dtype.kind in "biu":
            return pa.array(np.ascontiguousarray(values))
        finite = np.isfinite(values) & (np.abs(values) < 2.0**63)
        return pa.array(np.rint(np.where(finite, values, 0)).astype(np.int64), mask=~finite)

    return pa.record_batch([column(batch[:, j], w) for j, w in enumerate(whole)], names=names)


def _csv(
    file: IO[bytes],
    names: list[str],
    batches: Iterator[Rows],
    *,
    whole: list[bool],
    delimiter: str = ",",
) -> int:
    import pyarrow.csv as pc

    header = io.StringIO()
    csv.writer(header, delimiter=delimiter, lineterminator="\n").writerow(names)
    file.write(header.getvalue().encode())
    options = pc.WriteOptions(include_header=False, delimiter=delimiter)
    count = 0
    for batch in batches:
        buffer = io.BytesIO()
        pc.write_csv(_arrow(batch, names, whole), buffer, options)
        file.write(buffer.getvalue())
        count += len(batch)
    return count


def _tsv(file: IO[bytes], names: list[str], batches: Iterator[Rows], *, whole: list[bool]) -> int:
    return _csv(file, names, batches, whole=whole, delimiter="\t")


def _csv_gz(
    file: IO[bytes], names: list[str], batches: Iterator[Rows], *, whole: list[bool]
) -> int:
    with gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=file, mtime=0) as packed:
        return _csv(packed, names, batches, whole=whole)  # type: ignore[arg-type]


def _parquet(
    file: IO[bytes], names: list[str], batches: Iterator[Rows], *, whole: list[bool]
) -> int:
    import pyarrow.parquet as pq

    first = _arrow(next(batches, np.empty((0, len(names)))), names, whole)
    count: int = first.num_rows
    with pq.ParquetWriter(file, first.schema) as writer:
        writer.write_batch(first)
        for batch in batches:
            writer.write_batch(_arrow(batch, names, whole).cast(first.schema))
            count += len(batch)
    return count


def _gather(batches: Iterator[Rows], width: int) -> Rows:
    arrays = list(batches)
    return np.concatenate(arrays) if arrays else np.empty((0, width))


def _npy(file: IO[bytes], names: list[str], batches: Iterator[Rows], *, whole: list[bool]) -> int:
    array = _gather(batches, len(names))
    np.save(
        file,
        array.astype(np.int64) if all(whole) and np.isfinite(array).all() else array,
        allow_pickle=False,
    )
    return len(array)


def _npz(file: IO[bytes], names: list[str], batches: Iterator[Rows], *, whole: list[bool]) -> int:
    array = _gather(batches, len(names))
    np.savez(file, x=array, columns=np.array(names, dtype=str))
    return len(array)
