"""Tables: float64 rows with a schema, and the account of every row that the source held."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import ConfigError, DataError
from ...core.wording import argument
from ...supports import Support
from ..names import refuse_unknown, shorten
from .arrays import ArraySource
from .csv import CsvSource
from .kinds import EXACT, infer_support
from .ledger import Block, Intake, Ledger, tally
from .schema import Column, Schema, plan_columns
from .sources import Source, open_source

__all__ = ["Table", "iter_tables", "read_table"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """Rows ready for a model: `values` (N, D) float64, `context` (N, C) or None, and the account of
    the intake.

    `lines` (N,) says where each row stood in the source: its line in a text file, else its data row
    counted from 1. `notes` name what the source holds besides and was not read, such as the index
    of a pandas frame. `reading` says in words how a text file was read: its dialect, and lines that
    are no rows.
    """

    schema: Schema
    values: Floats
    context: Floats | None
    intake: Intake
    source: str
    lines: NDArray[np.int64] = field(repr=False)
    notes: tuple[str, ...] = ()
    reading: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def fingerprint(self) -> dict[str, Any]:
        """Digest of the content: `rows`, `columns`, `sha256`, and a `column_sha256` each, to name a
        difference.
        """
        columns = dict(zip(self.schema.names, self.values.T, strict=True))
        if self.context is not None:
            columns |= dict(zip(self.schema.context_names, self.context.T, strict=True))
        digests = {
            n: hashlib.sha256(np.ascontiguousarray(c).data).hexdigest() for n, c in columns.items()
        }
        whole = hashlib.sha256(
            repr((len(self), sorted(digests.items()), self.schema.model_dump_json())).encode()
        )
        return {
            "rows": len(self),
            "columns": list(columns),
            "sha256": whole.hexdigest(),
            "column_sha256": digests,
        }

    def account(self) -> list[str]:
        """For people: how many rows came in and what became of them, why, and how the source was
        read.
        """
        i = self.intake
        rows = (
            f"{i.kept:,} of {i.total:,} rows kept, {i.rejected:,} rejected, {i.nonfinite:,} not"
            " finite"
        )
        reasons = [f"  {n:,} × {reason}" for reason, n in list(i.reasons.items())[:5]]
        return [f"{self.source}: {rows}", *reasons, *(f"  {words}" for words in self.reading)]

    def describe(self) -> list[str]:
        """A few lines for people: the account, columns with their supports, and what was left
        out.
        """
        i = self.intake
        s = self.schema
        lines = self.account()
        lines += [
            f"{len(s.columns)} columns: "
            + ", ".join(f"{c.name} ({c.support})" for c in s.columns[:20])
        ]
        lines[-1] += f" and {len(s.columns) - 20} more" if len(s.columns) > 20 else ""
        if s.context:
            lines.append("context: " + ", ".join(s.context_names))
        if s.set_aside:
            lines.append(
                "set aside as constant: "
                + ", ".join(f"{n} = {v:g}" for n, v in s.set_aside.items())
            )
        if s.dropped:
            lines.append("dropped: " + ", ".join(s.dropped))
        lines += self.notes
        if i.rejects_file is not None and i.bad:
            lines.append(f"bad rows are listed in {i.rejects_file}")
        return lines


def read_table(
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    context: Sequence[str] = (),
    drop: Sequence[str] = (),
    schema: Schema | None = None,
    max_bad: float = 0.01,
    rejects: Path | None = None,
    with_context: bool = True,
    dialect: str | None = None,
) -> Table:
    """Read a table whole, keeping the rows in which every used column is finite.

    Args:
        source: a path (.csv, .tsv, .txt, each also .gz, .parquet, .npy, .npz), a NumPy array, a
            pandas, polars or Arrow object, or a `Table`.
        columns: supports to use in place of the inferred ones, such as `{"age": "positive"}`.
        context: columns to condition on rather than to model.
        drop: columns to leave out.
        schema: the schema of a model. Its columns are then looked up by name and the three options
            above are not allowed; values outside a support are no error, for they have a density of
            zero.
        max_bad: the largest share of bad rows that is accepted.
        rejects: a CSV file to be written with the line, column, reason and raw text of every bad
            row.
        with_context: False leaves the context columns unread.
        dialect: how to read a text table where detection is to be overridden, such as
            `"delimiter=;,decimal=comma,header=2"`; keys are delimiter, decimal, thousands,
            encoding, header and missing (see docs/tables.md).

    Raises:
        DataError: one line that names the file and line or column and says how to mend it.
        ConfigError: an option is not valid.
    """
    if (
        isinstance(source, Table)
        and not dialect
        and _untouched(
            source,
            columns=columns,
            context=context,
            drop=drop,
            schema=schema,
            with_context=with_context,
        )
    ):
        return source
    if not 0 <= max_bad <= 1:
        raise ConfigError(
            f"{argument('max_bad', max_bad)} is not a share; give a number from 0 to 1"
        )
    src = _open(source, dialect)
    names, context_names = _plan(
        src, columns=columns, context=context, drop=drop, schema=schema, with_context=with_context
    )
    used = (*names, *context_names)
    parts: list[Floats] = []
    lines: list[NDArray[np.int64]] = []
    with Ledger(src.label, used, rejects, unit=src.unit, optional=schema is None) as ledger:
        for block in src.blocks(_by_name(src, used, schema)):
            good = ledger.add(block) == 0
            parts.append(block.values if good.all() else block.values[good])
            lines.append(block.lines if good.all() else block.lines[good])
    ledger.refuse(max_bad)
    where = np.concatenate(lines)
    if schema is not None:
        plain, cond = _stack(parts, rows=len(where), width=len(names), context=len(context_names))
        return Table(
            schema, plain, cond, ledger.intake(), src.label, where, src.notes, _reading(src)
        )
    _refuse_beyond(src, used, ledger, overrides=columns or {})
    constant = _constants(ledger, len(names), len(where))
    modelled = [j for j in range(len(names)) if j not in constant]
    if not modelled:
        raise DataError(
            f"{src.label}: every column is constant ({shorten(names)}), so there is nothing to"
            " model"
        )
    plain, cond = _stack(
        parts, rows=len(where), width=len(names), context=len(context_names), modelled=modelled
    )
    kept = [names[j] for j in modelled]
    inferred = Schema(
        columns=_supports(src, kept, plain, overrides=columns or {}, lines=where),
        context=(
            _supports(src, context_names, cond, overrides=columns or {}, lines=where)
            if cond is not None
            else ()
        ),
        set_aside={names[j]: value for j, value in constant.items()},
        dropped=tuple(drop),
    )
    return Table(inferred, plain, cond, ledger.intake(), src.label, where, src.notes, _reading(src))


def iter_tables(
    source: Any,
    *,
    schema: Schema,
    batch_rows: int = 65_536,
    rejects: Path | None = None,
    with_context: bool = True,
    dialect: str | None = None,
) -> Iterator[Table]:
    """Read a table of any size in pieces of at most `batch_rows`, with one row for **each** data
    row, in order.

    A row that is bad in any used column is NaN throughout, and each piece's `intake` counts its
    rows; so the log-densities of the pieces, put together, stand beside the rows of the source.
    Options and errors are those of `read_table`.
    """
    if batch_rows < 1:
        raise ConfigError(f"batch_rows is {batch_rows}; give at least 1")
    src = _open(source, dialect)
    names, context_names = _plan(
        src, columns=None, context=(), drop=(), schema=schema, with_context=with_context
    )
    used = (*names, *context_names)
    with Ledger(src.label, used, rejects, unit=src.unit, optional=False) as ledger:
        for block in src.blocks(_by_name(src, used, schema)):
            codes = ledger.add(block)
            block.values[codes != 0] = np.nan
            for start in range(0, len(codes), batch_rows):
                yield _piece(
                    ledger,
                    block,
                    codes=codes,
                    rows=slice(start, start + batch_rows),
                    schema=schema,
                    width=len(names),
                    reading=_reading(src),
                )
        if ledger.total == 0:
            ledger.refuse(1.0)


def _piece(
    ledger: Ledger,
    block: Block,
    *,
    codes: NDArray[np.int32],
    rows: slice,
    schema: Schema,
    width: int,
    reading: tuple[str, ...],
) -> Table:
    values = block.values[rows]
    intake = ledger.intake(tally(codes[rows]), len(values))
    context = np.ascontiguousarray(values[:, width:]) if values.shape[1] > width else None
    return Table(
        schema,
        np.ascontiguousarray(values[:, :width]),
        context,
        intake,
        ledger.label,
        block.lines[rows],
        reading=reading,
    )


def _reading(src: Source) -> tuple[str, ...]:
    return src.reading() if isinstance(src, CsvSource) else ()


def _open(source: Any, dialect: str | None = None) -> Source:
    if not isinstance(source, Table):
        return open_source(source, dialect)
    if dialect:
        raise ConfigError(
            f"{argument('dialect', dialect)}: is for text tables, and this one has been read"
            " already; leave it out"
        )
    names = [
        *source.schema.names,
        *(source.schema.context_names if source.context is not None else ()),
    ]
    array = source.values if source.context is None else np.hstack((source.values, source.context))
    everything = (*source.schema.columns, *source.schema.context)
    integral = frozenset(c.name for c in everything if c.parsed.whole)
    return ArraySource(source.source, array, names, integral=integral)


def _untouched(
    table: Table,
    *,
    columns: Mapping[str, str] | None,
    context: Sequence[str],
    drop: Sequence[str],
    schema: Schema | None,
    with_context: bool,
) -> bool:
    """True if nothing is asked of the table that it is not already."""
    same = schema is None or schema == table.schema
    whole = (table.context is not None) == (with_context and bool(table.schema.context))
    return (
        same
        and whole
        and not (columns or context or drop)
        and bool(np.isfinite(table.values).all())
    )


def _plan(
    src: Source,
    *,
    columns: Mapping[str, str] | None,
    context: Sequence[str],
    drop: Sequence[str],
    schema: Schema | None,
    with_context: bool,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the modelled and of the context columns to read."""
    if schema is None:
        names = plan_columns(
            src.label, src.names, overrides=columns or {}, context=context, drop=drop
        )
        for text in (columns or {}).values():
            Support.parse(text)
        wanted = tuple(context) if with_context else ()
    elif columns or context or drop:
        raise ConfigError(
            "a schema already says which columns to use: do not give columns, context or drop"
            " with it"
        )
    else:
        names = schema.names
        wanted = schema.context_names if with_context else ()
        _refuse_missing(src, (*names, *wanted))
    _refuse_text(src, (*names, *wanted), optional=schema is None)
    return names, wanted


def _refuse_missing(src: Source, wanted: tuple[str, ...]) -> None:
    if not src.named:
        if len(src.names) != len(wanted):
            raise DataError(
                f"{src.label}: {len(src.names)} columns, the model has {len(wanted)}:"
                f" {shorten(wanted)}"
            )
        return
    missing = [n for n in wanted if n not in src.names]
    if len(missing) == 1:
        refuse_unknown(src.label, missing, src.names, option="the model")
    if missing:
        raise DataError(
            f"{src.label}: the model needs columns that are missing: {shorten(missing, 20)}; add"
            " them"
        )


def _refuse_text(src: Source, used: tuple[str, ...], optional: bool) -> None:
    """Raise `DataError` if a used column holds no numbers; `optional` says that a column can be
    left out.
    """
    if not src.named and not optional:
        used = src.names
    bad = [n for n in used if n in src.text]
    if bad:
        drops = argument("drop", bad[:20])
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        mend = f"leave it out with {drops}" if optional else "the model needs numbers there"
        raise DataError(f"{src.label}: column {bad[0]!r}{more} is {src.text[bad[0]]}; {mend}")


def _by_name(src: Source, used: tuple[str, ...], schema: Schema | None) -> tuple[str, ...]:
    """The source's names of the used columns: an array without names is taken in order."""
    return src.names if schema is not None and not src.named else used


def _constants(ledger: Ledger, width: int, rows: int) -> dict[int, float]:
    """Position and value of each modelled column that never varies; a single row says nothing about
    that.
    """
    same: Any = np.flatnonzero(ledger.low[:width] == ledger.high[:width]) if rows > 1 else []
    return {int(j): float(ledger.low[j]) for j in same}


def _stack(
    parts: list[Floats],
    *,
    rows: int,
    width: int,
    context: int,
    modelled: Sequence[int] | None = None,
) -> tuple[Floats, Floats | None]:
    """Values and context of all parts in fresh arrays. Empties `parts` on the way, so that no
    second copy is held.
    """
    columns = range(width) if modelled is None else modelled
    picks: Any = slice(0, width) if len(columns) == width else list(columns)
    values = np.empty((rows, len(columns)))
    cond = np.empty((rows, context)) if context else None
    parts.reverse()
    at = 0
    while parts:
        part = parts.pop()
        values[at : at + len(part)] = part[:, picks]
        if cond is not None:
            cond[at : at + len(part)] = part[:, width:]
        at += len(part)
    return values, cond


def _supports(
    src: Source,
    names: Sequence[str],
    values: Floats,
    *,
    overrides: Mapping[str, str],
    lines: NDArray[np.int64],
) -> tuple[Column, ...]:
    return tuple(
        Column(
            name=n,
            support=str(
                _support(
                    src,
                    n,
                    np.ascontiguousarray(values[:, j]),
                    declared=overrides.get(n),
                    lines=lines,
                )
            ),
        )
        for j, n in enumerate(names)
    )


def _support(
    src: Source, name: str, values: Floats, *, declared: str | None, lines: NDArray[np.int64]
) -> Support:
    """The declared support, if the values keep to it, or the one that is inferred."""
    support = (
        infer_support(values, name in src.integral) if declared is None else Support.parse(declared)
    )
    bad = support.outside(values)
    if bad.any():
        first = int(np.argmax(bad))
        raise DataError(
            f"{src.label}: {src.unit} {lines[first]}, column {name!r}: {values[first]:g} is not"
            f" {support.words} ({int(bad.sum()):,} such rows); mend them or declare"
            f" {argument('columns', {name: 'real'})}"
        )
    return support


def _refuse_beyond(
    src: Source, used: Sequence[str], ledger: Ledger, *, overrides: Mapping[str, str]
) -> None:
    """Refuse whole numbers that float64 has rounded already, unless they are declared to be
    reals.
    """
    for j, name in enumerate(used):
        whole = Support.parse(overrides[name]).whole if name in overrides else name in src.integral
        # 2^53 itself may be a rounded 2^53 + 1
        if whole and max(-ledger.low[j], ledger.high[j]) >= EXACT:
            raise DataError(
                f"{src.label}: column {name!r} holds whole numbers of 2^53 or more, which float64"
                f" cannot tell apart; leave it out with {argument('drop', [name])} or declare"
                f" {argument('columns', {name: 'real'})}"
            )
