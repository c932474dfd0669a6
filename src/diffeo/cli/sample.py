"""`diffeo sample`: new rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import ConfigError
from .common import Json, Model, Seed, Threads, batches, emit, open_model, use_threads

if TYPE_CHECKING:
    from ..data import Schema
    from ..flow import Flow

__all__ = ["sample"]

CHUNK = 16_384


def sample(
    model: Model,
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="How many rows (for each row of --context).")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Where to write: .csv, .csv.gz, .parquet, .npy or .npz.", show_default=False)
    ],
    seed: Seed = 0,
    temperature: Annotated[float, typer.Option(min=0.01, help="Below 1: nearer the typical; above: wider.")] = 1.0,
    context: Annotated[Path | None, typer.Option(help="Table of contexts, for a conditional model.", show_default=False)] = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Draw rows with the training columns, in the data's own units.

    Example:  diffeo sample model -n 1000 --seed 1 -o samples.csv
    """
    use_threads(threads)
    flow, schema = open_model(model)
    if (context is None) != (flow.context_shape is None):
        wanted = f"columns {', '.join(schema.context_names)}" if flow.context_shape is not None else "no context"
        raise ConfigError(f"{model}: this model takes {wanted}: {'add' if context is None else 'leave out'} --context")
    rows = draw_to(out, flow, schema, n, seed, temperature, context)
    emit({"rows": rows, "out": str(out)}, json, [f"{rows:,} rows in {out}"])


def draw_to(
    out: Path, flow: Flow, schema: Schema, n: int, seed: int = 0, temperature: float = 1.0, context: Path | None = None
) -> int:
    """Write n rows (for each context) to a file; how many they were."""
    from ..data import write_table

    names = [*schema.names, *schema.context_names, *schema.set_aside]
    whole = [c.name for c in schema.columns if c.parsed.kind == "integer"]
    return write_table(out, names, _draws(flow, schema, n, seed, temperature, context), integers=whole)


def _draws(flow: Flow, schema: Schema, n: int, seed: int, temperature: float, context: Path | None) -> Iterator[Any]:
    import numpy as np
    import torch

    generator = torch.Generator().manual_seed(seed)
    constants = list(schema.set_aside.values())
    for own in _contexts(schema, context, n):
        for count in batches(n, CHUNK):
            drawn = flow.sample((count,), own, temperature=temperature, generator=generator).double()
            if own is not None:  # (count, contexts, D): the rows of one context stand together
                drawn = torch.cat([drawn, own.expand(count, *own.shape)], -1).transpose(0, 1).flatten(0, 1)
            values = drawn.numpy()
            yield np.hstack([values, np.tile(constants, (len(values), 1))]) if constants else values


def _contexts(schema: Schema, path: Path | None, n: int) -> Iterator[Any]:
    """Contexts (C, ...) in pieces: many when few rows are wanted of each, one at a time when many are."""
    if path is None:
        yield None
        return
    import torch

    from ..data import Schema, read_table

    wanted = Schema(columns=schema.context)
    yield from torch.from_numpy(read_table(path, schema=wanted, max_bad=0.0).values).split(max(1, CHUNK // n))
