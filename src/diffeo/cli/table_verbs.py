"""The verbs on models of tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import ConfigError
from .batches import batches
from .models import schema_of
from .output import say
from .requests import Draws, Rows
from .room import check_room

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Schema, Table
    from ..flow import Flow
    from ..training import Evaluation

__all__ = ["TableVerbs", "tensors"]

CHUNK = 16_384  # rows drawn at a time


class TableVerbs:
    """`Verbs` of tables: columns are found by name."""

    def read(
        self, flow: Flow, rows: Rows, first: int | None = None
    ) -> tuple[Tensor, Tensor | None, int]:
        from ..data import read_table

        _refuse_image_options(rows)
        schema = schema_of(flow, rows.folder)
        table = read_table(rows.data, schema=schema, max_bad=rows.max_bad, dialect=rows.dialect)
        say(*table.account())
        return *tensors(table), table.intake.total - table.intake.kept

    def pieces(self, flow: Flow, rows: Rows) -> Iterator[tuple[Tensor, Tensor | None]]:
        from ..data import iter_tables

        _refuse_image_options(rows)
        reasons: Counter[str] = Counter()
        reading: tuple[str, ...] = ()
        schema = schema_of(flow, rows.folder)
        for piece in iter_tables(rows.data, schema=schema, dialect=rows.dialect):
            reasons.update(piece.intake.reasons)
            reading = piece.reading
            yield tensors(piece)
        say(
            *(f"{rows.data}: {n:,} × {reason}" for reason, n in reasons.most_common(5)),
            *(f"{rows.data}: {words}" for words in reading),
        )

    def draw(self, flow: Flow, draws: Draws) -> int:
        from ..data import write_table

        if draws.classes or draws.columns:
            raise ConfigError(
                f"{draws.folder}: a model of tables takes neither --class nor --columns"
            )
        schema = schema_of(flow, draws.folder)
        _check_context(flow, schema, draws)
        check_room(draws.out, draws.n, len(schema.columns))
        names = [*schema.names, *schema.context_names, *schema.set_aside]
        whole = [c.name for c in schema.columns if c.parsed.whole]
        return write_table(draws.out, names, _drawn(flow, schema, draws), integers=whole)

    def describe(self, flow: Flow, folder: Path) -> dict[str, Any]:
        schema = schema_of(flow, folder)
        return {
            "columns": {c.name: c.support for c in schema.columns},
            "context": {c.name: c.support for c in schema.context},
            "set_aside": schema.set_aside,
        }

    def likelihood(self, result: Evaluation) -> list[str]:
        nats = f"{result.nll:.4f} ± {result.nll_se:.4f} nats per row"
        bound = " (an upper bound: integer columns are dequantised)" if result.bound else ""
        lines = [
            f"{nats}, {result.bits_per_dim:.4f} bits per dimension{bound}",
            f"{result.rows:,} rows",
        ]
        if math.isinf(result.nll):
            lines.append(
                f"{result.outside} rows lie outside the support of a column and have density zero"
            )
        return lines


def tensors(table: Table) -> tuple[Tensor, Tensor | None]:
    """Rows and contexts of a table."""
    import torch

    return torch.from_numpy(table.values), (
        None if table.context is None else torch.from_numpy(table.context)
    )


def _refuse_image_options(rows: Rows) -> None:
    if rows.labels is not None or rows.resize is not None:
        raise ConfigError(f"{rows.folder}: a model of tables takes neither --labels nor --resize")


def _check_context(flow: Flow, schema: Schema, draws: Draws) -> None:
    if (draws.context is None) == (flow.context_shape is None):
        return
    wanted = (
        f"columns {', '.join(schema.context_names)}"
        if flow.context_shape is not None
        else "no context"
    )
    raise ConfigError(
        f"{draws.folder}: this model takes {wanted}:"
        f" {'add' if draws.context is None else 'leave out'} --context"
    )


def _drawn(flow: Flow, schema: Schema, draws: Draws) -> Iterator[Any]:
    import numpy as np
    import torch

    generator = torch.Generator().manual_seed(draws.seed)
    constants = list(schema.set_aside.values())
    for own in _contexts(schema, draws):
        for count in batches(draws.n, CHUNK):
            drawn = flow.sample(
                (count,), own, temperature=draws.temperature, generator=generator
            ).double()
            if own is not None:  # (count, contexts, D): the rows of one context stand together
                drawn = (
                    torch.cat([drawn, own.expand(count, *own.shape)], -1)
                    .transpose(0, 1)
                    .flatten(0, 1)
                )
            values = drawn.numpy()
            yield np.hstack([values, np.tile(constants, (len(values), 1))]) if constants else values


def _contexts(schema: Schema, draws: Draws) -> Iterator[Any]:
    """Contexts (C, ...) in pieces: many when few rows are wanted of each, one at a time when many
    are.
    """
    if draws.context is None:
        yield None
        return
    import torch

    from ..data import Schema, read_table

    wanted = Schema(columns=schema.context)
    table = read_table(draws.context, schema=wanted, max_bad=0.0, dialect=draws.dialect)
    say(*table.account())
    yield from torch.from_numpy(table.values).split(max(1, CHUNK // draws.n))
