"""The book of rows: each data row is kept, rejected (could not be parsed) or non-finite, and the
three add up.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError
from ...core.wording import argument

__all__ = ["FIELDS", "STRUCTURE", "Block", "Intake", "Ledger"]

# Reasons that belong to a whole row. A block's code −1 − i stands for STRUCTURE[i].
STRUCTURE = (
    "wrong number of fields",
    "text after a closing quote, or a quote that is not closed",
    "not valid UTF-8 text",
    "line longer than 1 MiB",
    "unreadable",
)
FIELDS, QUOTE, ENCODING, TOO_LONG, UNREADABLE = (-1 - i for i in range(len(STRUCTURE)))


@dataclass(frozen=True)
class Intake:
    """How many data rows came in and what became of them. Always `kept + rejected + nonfinite ==
    total`.

    `rejected` rows could not be parsed; `nonfinite` rows have an empty, NaN or infinite cell in a
    column that is used. `reasons` gives each bad row exactly one reason, so its counts sum to
    `rejected + nonfinite`.
    """

    total: int
    kept: int
    rejected: int = 0
    nonfinite: int = 0
    rejects_file: Path | None = None
    reasons: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (
            self.kept + self.rejected + self.nonfinite != self.total
            or sum(self.reasons.values()) != self.bad
        ):
            raise DataError(
                f"row counts do not add up ({self}): this is a fault of diffeo, please report it"
            )

    @property
    def bad(self) -> int:
        """Rows that were not kept."""
        return self.rejected + self.nonfinite


@dataclass(kw_only=True)
class Block:
    """Consecutive data rows of a source: `values` (n, K) float64, also the good cells of a row that
    is rejected for another; `codes` (n,), 0 for a row that could be parsed.

    Code j + 1 says that the cell of used column j is no number, a negative one is a `STRUCTURE`
    reason. `lines` holds the rows' line numbers (or data row numbers, from 1, in a file without
    lines) and `raw(i)` is the text of row i.
    """

    values: NDArray[np.float64]
    codes: NDArray[np.int32]
    lines: NDArray[np.int64]
    raw: Callable[[int], str]


class Ledger:
    """Counts every row of every block, remembers examples, and writes the rejects file.

    `optional` says that columns can be left out: no model asks for them.
    """

    def __init__(
        self,
        label: str,
        columns: Sequence[str],
        rejects: Path | None = None,
        *,
        unit: str = "line",
        optional: bool = True,
    ) -> None:
        self.optional = optional
        self.label = label
        self.columns = tuple(columns)
        self.unit = unit
        self.rejects = None if rejects is None else Path(rejects)
        self.total = 0
        self.counts: Counter[int] = Counter()
        self.examples: dict[int, list[int]] = {}
        self.finite = np.zeros(len(columns), dtype=np.int64)
        self.low = np.full(len(columns), np.inf)
        self.high = np.full(len(columns), -np.inf)
        self._file: IO[str] | None = None
        self._writer: Any = None

    def __enter__(self) -> Ledger:
        if self.rejects is not None:
            try:
                self._file = self.rejects.open("w", newline="", encoding="utf-8")
            except OSError as e:
                raise DataError(
                    f"{self.rejects}: cannot be written ({e.strerror}); name another file"
                ) from e
            self._writer = csv.writer(self._file)
            self._writer.writerow([self.unit, "column", "reason", "raw"])
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, block: Block) -> NDArray[np.int32]:
        """Enter a block. Returns one code per row: 0 for a row to keep, else the reason (see
        `reason`).
        """
        finite = np.isfinite(block.values)
        whole = finite.all(axis=1)
        codes = block.codes.copy()
        poor = (codes == 0) & ~whole
        codes[poor] = len(self.columns) + 1 + np.argmin(finite[poor], axis=1)
        self.total += len(codes)
        self.finite += finite.sum(axis=0)
        self._range(block.values, codes == 0)
        self._enter(block, codes, np.flatnonzero(codes))
        return codes

    def _range(self, values: NDArray[np.float64], keep: NDArray[np.bool_]) -> None:
        good = values if keep.all() else values[keep]
        if len(good):
            self.low = np.minimum(self.low, good.min(axis=0))
            self.high = np.maximum(self.high, good.max(axis=0))

    def _enter(self, block: Block, codes: NDArray[np.int32], bad: NDArray[np.int64]) -> None:
        self.counts.update(tally(codes[bad]))
        for code in np.unique(codes[bad]).tolist():
            examples = self.examples.setdefault(code, [])
            first = bad[codes[bad] == code][: 3 - len(examples)]
            examples.extend(block.lines[first].tolist())
        if self._writer is not None:
            for i in bad.tolist():
                column, reason = self._where(int(codes[i]))
                self._writer.writerow([int(block.lines[i]), column, reason, block.raw(i)])

    def _where(self, code: int) -> tuple[str, str]:
        k = len(self.columns)
        if code < 0:
            return "", STRUCTURE[-1 - code]
        if code <= k:
            return self.columns[code - 1], "not a number"
        return self.columns[code - k - 1], "empty, NaN or infinite"

    def reason(self, code: int) -> str:
        """A code in words.

        >>> Ledger("t.csv", ["age"]).reason(1)
        "column 'age': not a number"
        """
        column, reason = self._where(code)
        return f"column {column!r}: {reason}" if code > 0 else reason

    def intake(self, counts: Mapping[int, int] | None = None, total: int | None = None) -> Intake:
        """The account of all rows so far, or of the given part of them."""
        counts = self.counts if counts is None else counts
        total = self.total if total is None else total
        nonfinite = sum(n for code, n in counts.items() if code > len(self.columns))
        bad = sum(counts.values())
        reasons = {
            self.reason(code): n for code, n in sorted(counts.items(), key=lambda item: -item[1])
        }
        return Intake(total, total - bad, bad - nonfinite, nonfinite, self.rejects, reasons)

    def refuse(self, max_bad: float) -> None:
        """Raise `DataError` for no rows, a column without numbers, or more than a share `max_bad`
        of bad rows.
        """
        if self.total == 0:
            raise DataError(f"{self.label}: no data rows, only column names; add rows")
        self._refuse_empty_columns()
        bad = sum(self.counts.values())
        if bad == self.total or bad > max_bad * self.total:
            raise DataError(
                f"{self.label}: {bad:,} of {self.total:,} rows cannot be used"
                f" ({100 * bad / self.total:.2g} %, at most {100 * max_bad:g} % allowed):"
                f" {self._top()}; mend them{self._see()}" + self._allow(bad, max_bad)
            )

    def _allow(self, bad: int, max_bad: float) -> str:
        """Advice to allow so many bad rows, unless that leaves none or every row is needed."""
        return (
            f" or allow them with {argument('max_bad', round_up(bad / self.total))}"
            if max_bad > 0 and bad < self.total
            else ""
        )

    def _mend(self, name: str) -> str:
        return (
            f"leave it out with {argument('drop', [name])}"
            if self.optional
            else "the model needs numbers there"
        )

    def _refuse_empty_columns(self) -> None:
        for j, name in enumerate(self.columns):
            if self.counts[j + 1] > 0.5 * self.total:
                raise DataError(
                    f"{self.label}: column {name!r} is mostly text ({self.counts[j + 1]:,} of"
                    f" {self.total:,} cells are no numbers, first on {self.unit}"
                    f" {self.examples[j + 1][0]}); {self._mend(name)}"
                )
            if self.finite[j] == 0 and self.counts[j + 1] + self._structural() < self.total:
                raise DataError(
                    f"{self.label}: column {name!r} has no finite value in any row;"
                    f" {self._mend(name)}"
                )

    def _structural(self) -> int:
        return sum(n for code, n in self.counts.items() if code < 0)

    def _top(self) -> str:
        top = sorted(self.counts.items(), key=lambda item: -item[1])[:3]
        where = {c: f"{self.unit} {', '.join(map(str, self.examples[c]))}" for c, _ in top}
        return "; ".join(f"{n:,} × {self.reason(c)} ({where[c]})" for c, n in top)

    def _see(self) -> str:
        return f" (all are listed in {self.rejects})" if self.rejects is not None else ""


def tally(codes: NDArray[np.int32]) -> dict[int, int]:
    """How often each code other than 0 occurs."""
    distinct, n = np.unique(codes[codes != 0], return_counts=True)
    return dict(zip(distinct.tolist(), n.tolist(), strict=True))


def round_up(share: float) -> float:
    """A share rounded up to two decimals, so that a `max_bad` of it lets it pass."""
    return min(1.0, float(np.ceil(share * 100) / 100))
