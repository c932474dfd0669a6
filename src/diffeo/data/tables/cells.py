"""From records to numbers: DuckDB parses them, and its answer is held against a count made without
it.

Nearly all rows go the fast way, as columns of DOUBLE. Those in which that is too generous (`+-1`,
`1_0`), cannot be done (thousands separators) or fails are read again as text, each cell against the
regular expression of a number.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError
from .dialect import Dialect
from .ledger import ENCODING, FIELDS, QUOTE, TOO_LONG, UNREADABLE
from .records import Chunk

__all__ = ["Parser"]

# a longer record is rejected here: DuckDB 2.0 may skip one of 10 MB without recording it
MAX_LINE = 1 << 20
SPACE = "' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13)"
BLANKS = " \t\n\v\f\r"
NUMERIC = tuple("+-.,0123456789")
FEW = 2000  # rows of a chunk
GENEROUS = (b"+-", b"_")  # DuckDB reads +-1 as -1 and 1_0 as 10
STRUCTURAL = (
    f"CASE error_type WHEN 'CAST' THEN 1 WHEN 'MISSING COLUMNS' THEN {FIELDS} WHEN 'TOO MANY"
    f" COLUMNS' THEN {FIELDS} WHEN 'UNQUOTED VALUE' THEN {QUOTE} WHEN 'INVALID ENCODING' THEN"
    f" {ENCODING} ELSE {UNREADABLE} END"
)


class Parser:
    """Reads the used columns, given by position, of chunk after chunk. `folder` is for its
    temporary files.
    """

    def __init__(self, label: str, dialect: Dialect, used: Sequence[int], *, folder: str) -> None:
        self.label = label
        self.dialect = dialect
        self.used = list(used)
        self._part = Path(folder, "part.csv")
        self._connection = _connect(folder)
        self._fast = self._query(careful=False)
        self._careful = self._query(careful=True)
        # DuckDB takes `- 1` for a missing `-`
        like_numbers = [marker for marker in dialect.missing if marker[:1] in NUMERIC]
        self._doubtful = [
            *GENEROUS,
            *(text.encode() for text in (*dialect.marks.separators, *like_numbers)),
        ]

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()

    def read(self, chunk: Chunk) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """Values (n, K), NaN where a cell is missing or no number, and a code for each row (see
        `Block`).
        """
        values = np.full((len(chunk), len(self.used)), np.nan)
        codes = np.zeros(len(chunk), dtype=np.int32)
        codes[chunk.ends - chunk.starts > MAX_LINE] = TOO_LONG
        careful = self._holding(chunk)
        if self.dialect.marks.decimal == ",":  # DuckDB's reading of 1,5e300 is wrong at times
            careful[:] = True
        # DuckDB takes a blank line for the start of the next row
        given = (codes == 0) & (chunk.ends > chunk.starts)
        careful &= given
        fast = ~careful & given
        self._run(self._fast, chunk, fast, values=values, codes=codes)
        failed = np.flatnonzero(codes > 0)
        if len(failed) <= FEW:
            for i in failed.tolist():
                careful[i] = not self._by_hand(chunk, i, values=values, codes=codes)
        else:
            careful[failed] = True
        codes[careful] = 0
        self._run(self._careful, chunk, careful, values=values, codes=codes)
        return values, codes

    def _by_hand(
        self, chunk: Chunk, i: int, *, values: NDArray[np.float64], codes: NDArray[np.int32]
    ) -> bool:
        """Read one row here, which is quicker for a few than a query is. False if it does not have
        a field a column.
        """
        text = io.StringIO(chunk.text(i, MAX_LINE), newline="")
        fields = next(csv.reader(text, delimiter=self.dialect.delimiter), [])
        if len(fields) != len(self.dialect.names):
            return False
        numbers = [self._number(j, fields[j].strip(BLANKS)) for j in self.used]
        values[i] = [np.nan if v is None else v for v in numbers]
        codes[i] = numbers.index(None) + 1 if None in numbers else 0
        return True

    def _number(self, j: int, cell: str) -> float | None:
        """A cell of column j, NaN if it is missing, None if it is no number."""
        if not cell or cell in self.dialect.missing:
            return np.nan
        if self.dialect.cells[j] == "boolean":
            return {"true": 1.0, "false": 0.0}.get(cell.lower())
        return self.dialect.marks.value(cell)

    def _holding(self, chunk: Chunk) -> NDArray[np.bool_]:
        """Which records hold bytes that DOUBLE columns are not to see."""
        doubtful = np.zeros(len(chunk), dtype=np.bool_)
        array = np.frombuffer(chunk.data, np.uint8)
        for mark in self._doubtful:
            if mark in chunk.data:
                hits = np.ones(len(array) - len(mark) + 1, dtype=np.bool_)
                for offset, byte in enumerate(mark):
                    hits &= array[offset : offset + len(hits)] == byte
                records = np.searchsorted(chunk.starts, np.flatnonzero(hits), side="right") - 1
                doubtful[records] = True
        return doubtful

    def _run(
        self,
        query: str,
        chunk: Chunk,
        rows: NDArray[np.bool_],
        *,
        values: NDArray[np.float64],
        codes: NDArray[np.int32],
    ) -> None:
        """Fill the rows of the mask. Refuses an answer that does not add up."""
        part = chunk if rows.all() else chunk.select(rows)
        if not len(part):
            return
        self._part.write_bytes(part.data)
        result = self._connection.execute(query).fetchnumpy()
        rejects = self._connection.execute(
            f"SELECT line_byte_position - 1 AS at, min({STRUCTURAL}) AS why FROM reject_errors"
            " GROUP BY 1 ORDER BY 1"
        ).fetchnumpy()
        self._connection.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")
        at = np.asarray(rejects["at"], dtype=np.int64)
        index = np.searchsorted(part.starts, at)
        columns = [result[f"c{j}"] for j in self.used]
        kept = len(columns[0])
        if (
            kept + len(at) != len(part)
            or (part.starts[np.minimum(index, len(part) - 1)] != at).any()
        ):
            raise DataError(
                f"{self.label}: lines {part.lines[0]} to {part.last_lines[-1]}: of {len(part):,}"
                f" rows the parser accounts for {kept:,} good and {len(at):,} bad ones; look there"
                " for a stray quote"
            )
        why = np.zeros(len(part), dtype=np.int32)
        why[index] = rejects["why"]
        where = np.flatnonzero(rows)
        codes[where] = why
        good = where[why == 0] if len(at) else where
        target: Any = slice(None) if len(good) == len(codes) else good
        for k in reversed(range(len(columns))):
            values[target, k] = np.ma.filled(columns[k], np.nan)
            if np.ma.is_masked(columns[k]):
                codes[good[np.ma.getmaskarray(columns[k])]] = k + 1

    def _query(self, careful: bool) -> str:
        """The statement that reads one part. Columns go by position, so that no name needs quoting.

        A cell that is missing gives NaN, one that is no number NULL, or among the rejects if
        `careful` is False.
        """
        d = self.dialect
        as_text = {
            j
            for j in range(len(d.names))
            if careful or j not in self.used or d.cells[j] == "boolean"
        }
        columns = ", ".join(
            f"'c{j}': '{'VARCHAR' if j in as_text else 'DOUBLE'}'" for j in range(len(d.names))
        )
        select = ", ".join(
            f"{self._cell(j) if j in as_text else f'''coalesce(c{j}, 'nan'::DOUBLE)'''} AS c{j}"
            for j in self.used
        )
        nulls = ", ".join(_literal(marker) for marker in ("", *d.missing))
        return (
            f"SELECT {select} FROM read_csv({_literal(str(self._part))}, columns={{{columns}}},"
            f" header=false, auto_detect=false, delim={_literal(d.delimiter)}, quote='\"',"
            f" escape='\"', new_line='\\n', nullstr=[{nulls}], max_line_size={MAX_LINE + 16},"
            f" buffer_size={2 * MAX_LINE}, store_rejects=true, rejects_limit=0)"
        )

    def _cell(self, j: int) -> str:
        """A cell of text as a number."""
        d = self.dialect
        cell = f"trim(c{j}, {SPACE})"
        missing = ", ".join(_literal(marker.strip()) for marker in ("", *d.missing))
        head = f"CASE WHEN c{j} IS NULL OR {cell} IN ({missing}) THEN 'nan'::DOUBLE"
        if d.cells[j] == "boolean":
            return (
                f"{head} WHEN lower({cell}) = 'true' THEN 1 WHEN lower({cell}) = 'false' THEN 0 END"
            )
        digits = (
            f"translate({cell}, {_literal(d.marks.separators)}, '')" if d.marks.thousands else cell
        )
        digits = f"replace({digits}, ',', '.')" if d.marks.decimal == "," else digits
        return (
            f"{head} WHEN regexp_full_match({cell}, {_literal(d.marks.number)}, 'i') THEN"
            f" TRY_CAST({digits} AS DOUBLE) END"
        )


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
