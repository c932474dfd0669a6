"""From whatever the caller holds (a path, an array, a data frame) to a source: names, kinds and
blocks of rows.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...core.errors import ConfigError, DataError
from ...core.files import refuse_special
from ...core.wording import argument
from .arrays import ArraySource, arrow_source, npy_source, npz_source, parquet_source
from .csv import CsvSource
from .frames import frame_source, is_pandas
from .ledger import Block
from .wanted import Wanted

__all__ = ["Source", "open_source"]

SUFFIXES = ".csv, .tsv, .txt (also .gz), .parquet, .npy or .npz"


class Source(Protocol):
    """Where rows come from. `text` maps each column that holds no numbers to what it holds; `notes`
    say what is not read.
    """

    label: str
    unit: str
    names: tuple[str, ...]
    named: bool
    text: Mapping[str, str]
    integral: frozenset[str]
    notes: tuple[str, ...]

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """Every data row in order, as float64 values of the named columns."""
        ...


def open_source(source: Any, dialect: str | None = None) -> Source:
    """A source for a path, an array or tensor, a pandas object or one with `__arrow_c_stream__`;
    `DataError` for others.

    `dialect` says how to read a text table and is refused for anything else.
    """
    wanted = Wanted.parse(dialect)
    if isinstance(source, (str, os.PathLike)):
        return _open_path(Path(source), wanted)
    if wanted != Wanted():
        raise ConfigError(
            f"{argument('dialect', dialect)}: is for text tables, not for a"
            f" {type(source).__name__}; leave it out"
        )
    if isinstance(source, np.ndarray):
        return ArraySource("array", source)
    if is_pandas(source):
        return frame_source(source)
    if hasattr(source, "__arrow_c_stream__"):
        return arrow_source(type(source).__name__, source)
    if hasattr(source, "detach"):
        from ...core.tensors import to_tensor

        return ArraySource("tensor", to_tensor("tensor", source).cpu().numpy())
    if hasattr(source, "__array__"):  # xarray, JAX
        return ArraySource(type(source).__name__, np.asarray(source))
    raise DataError(
        f"cannot read a table from a {type(source).__name__}; give a path ({SUFFIXES}), an array or"
        " tensor (of a sparse matrix x.toarray()), or a pandas, polars or Arrow table"
    )


def _open_path(path: Path, wanted: Wanted) -> Source:
    name = path.name.lower()
    try:
        _refuse_path(path)
        if name.removesuffix(".gz").endswith((".csv", ".tsv", ".txt")):
            return CsvSource(path, wanted)
        if wanted != Wanted():
            raise ConfigError(
                f"{path}: {argument('dialect')} is for text tables (.csv, .tsv, .txt); leave it out"
            )
        if name.endswith(".parquet"):
            return parquet_source(path)
        if name.endswith(".npy"):
            return npy_source(path)
        if name.endswith(".npz"):
            return npz_source(path)
    except OSError as e:
        raise DataError(
            f"{path}: cannot be read ({e.strerror or e}); check the file and its permissions"
        ) from e
    except (EOFError, zlib.error) as e:
        raise DataError(
            f"{path}: the gzip file is damaged or cut short; fetch or pack it again"
        ) from e
    raise DataError(f"{path}: unknown kind of file; use {SUFFIXES}")


def _refuse_path(path: Path) -> None:
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name a file in it")
    if not path.exists():
        raise DataError(f"{path}: no such file; check the path")
    refuse_special(path)
    if path.stat().st_size == 0:
        raise DataError(
            f"{path}: the file is empty; it needs a line of column names and rows of numbers"
        )
    with path.open("rb"):
        pass
