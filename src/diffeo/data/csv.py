"""CSV intake: DuckDB parses whole records chunk by chunk, and its answer is held against a count made without it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError
from .dialect import MISSING, read_dialect
from .ledger import ENCODING, FIELDS, QUOTE, TOO_LONG, UNREADABLE, Block
from .records import Chunk, chunks

__all__ = ["CsvSource"]

MAX_LINE = 1 << 20  # a longer record is rejected here: DuckDB 2.0 may skip one of 10 MB without recording it
STRUCTURAL = (
    f"CASE error_type WHEN 'CAST' THEN column_idx "
    f"WHEN 'MISSING COLUMNS' THEN {FIELDS} WHEN 'TOO MANY COLUMNS' THEN {FIELDS} "
    f"WHEN 'UNQUOTED VALUE' THEN {QUOTE} WHEN 'INVALID ENCODING' THEN {ENCODING} ELSE {UNREADABLE} END"
)


class CsvSource:
    """A delimited text file (`.csv`, `.tsv`, `.txt`, gzipped or not) with a line of column names."""

    unit = "line"
    notes: tuple[str, ...] = ()
    named = True

    def __init__(self, path: Path) -> None:
        self.path, self.label = path, str(path)
        self.dialect = read_dialect(path)
        self.names = self.dialect.names
        self.text: Mapping[str, str] = {n: f"text ({t[:30]!r})" for n, t in self.dialect.text.items()}
        kinds = zip(self.names, self.dialect.cells, strict=True)
        self.integral = frozenset(n for n, kind in kinds if kind in ("integer", "boolean"))

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """Every data row of the file, in order; `values` holds the named columns."""
        used = [self.names.index(n) for n in columns]
        with tempfile.TemporaryDirectory(prefix="diffeo-") as folder:
            part = Path(folder, "part.csv")
            connection = _connect(folder)
            try:
                query = self._query(part, used)
                header = True
                for chunk in chunks(self.path, self.dialect.delimiter):
                    rows = chunk.select(np.arange(len(chunk)) > self._header(chunk)) if header else chunk
                    header = False
                    yield from self._read(connection, query, part, rows, used)
            finally:
                connection.close()

    @staticmethod
    def _header(chunk: Chunk) -> int:
        """The index of the header: the first record that is not blank."""
        return int(np.flatnonzero(chunk.ends > chunk.starts)[0])

    def _query(self, part: Path, used: list[int]) -> str:
        """The statement that reads one part. Columns go by position, so that no name needs quoting."""
        d = self.dialect
        boolean = {j for j in used if d.cells[j] == "boolean"}
        types = {j: "BOOLEAN" if j in boolean else "DOUBLE" for j in used}
        columns = ", ".join(f"'c{j}': '{types.get(j, 'VARCHAR')}'" for j in range(len(self.names)))
        select = ", ".join(f"coalesce(c{j}::DOUBLE, 'nan'::DOUBLE) AS c{j}" for j in used)
        nulls = ", ".join(f"'{m}'" for m in MISSING)
        decimal = ", decimal_separator=','" if d.decimal == "," else ""
        return (
            f"SELECT {select} FROM read_csv({_literal(str(part))}, columns={{{columns}}}, header=false, "
            f"auto_detect=false, delim={_literal(d.delimiter)}, quote='\"', escape='\"', new_line='\\n', "
            f"nullstr=[{nulls}], max_line_size={MAX_LINE + 16}, buffer_size={2 * MAX_LINE}, "
            f"store_rejects=true, rejects_limit=0{decimal})"
        )

    def _read(self, connection: Any, query: str, part: Path, chunk: Chunk, used: list[int]) -> Iterator[Block]:
        sizes = chunk.ends - chunk.starts
        if len(self.names) > 1 and not sizes.all():
            chunk = chunk.select(sizes > 0)  # blank lines are no rows, except where a row is one cell
        if not len(chunk):
            return
        codes = np.zeros(len(chunk), dtype=np.int32)
        short = chunk.ends - chunk.starts <= MAX_LINE
        codes[~short] = TOO_LONG
        parsed = chunk if short.all() else chunk.select(short)
        values = np.full((len(chunk), len(used)), np.nan)
        codes[short] = self._parse(connection, query, part, parsed, used, values, short)
        swallowed = np.flatnonzero((codes != 0) & (chunk.last_lines > chunk.lines))
        if len(swallowed):
            first, last = chunk.lines[swallowed[0]], chunk.last_lines[swallowed[0]]
            raise DataError(
                f'{self.label}: line {first}: a quote (") opens here and closes only on line {last}, '
                "so the rows between are swallowed; close or remove it"
            )
        yield Block(values, codes, chunk.lines, chunk.text)

    def _parse(
        self,
        connection: Any,
        query: str,
        part: Path,
        chunk: Chunk,
        used: list[int],
        values: NDArray[np.float64],
        rows: NDArray[np.bool_],
    ) -> NDArray[np.int32]:
        """Fill the rows of `values` in the mask; returns their codes. Refuses an answer that does not add up."""
        codes = np.zeros(len(chunk), dtype=np.int32)
        if not len(chunk):
            return codes
        part.write_bytes(chunk.data)
        found = connection.execute(query).fetchnumpy()
        rejects = connection.execute(
            f"SELECT line_byte_position - 1 AS at, min({STRUCTURAL}) AS why FROM reject_errors GROUP BY 1 ORDER BY 1"
        ).fetchnumpy()
        connection.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")
        at = np.asarray(rejects["at"], dtype=np.int64)
        index = np.searchsorted(chunk.starts, at)
        kept = len(found[f"c{used[0]}"])
        if kept + len(at) != len(chunk) or (chunk.starts[np.minimum(index, len(chunk) - 1)] != at).any():
            raise DataError(
                f"{self.label}: lines {chunk.lines[0]} to {chunk.last_lines[-1]}: of {len(chunk):,} rows the parser "
                f"accounts for {kept:,} good and {len(at):,} bad ones; look there for a stray quote"
            )
        why = np.asarray(rejects["why"], dtype=np.int64)
        position = np.zeros(len(self.names) + 1, dtype=np.int32)
        position[np.array(used) + 1] = np.arange(1, len(used) + 1)
        codes[index] = np.where(why > 0, position[np.maximum(why, 0)], why)
        good = rows.copy()
        good[rows] = codes == 0
        target: Any = slice(None) if good.all() else good
        for k, j in enumerate(used):
            values[target, k] = found[f"c{j}"]
        return codes


def _connect(folder: str) -> Any:
    import duckdb

    return duckdb.connect(
        config={
            "threads": max(1, min(4, os.cpu_count() or 1)),
            "memory_limit": "256MB",
            "temp_directory": folder,
            "autoinstall_known_extensions": False,
        }
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
