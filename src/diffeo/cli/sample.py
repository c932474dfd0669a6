"""`diffeo sample`: new rows, or new images."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import ConfigError
from .batches import batches
from .models import open_flow, schema_of
from .options import Dialect, Json, Model, Seed, Threads, use_threads
from .output import emit, say
from .rows import refuse_table_options

if TYPE_CHECKING:
    from ..data import Schema
    from ..flow import Flow

__all__ = ["sample"]

CHUNK = 16_384


def sample(
    model: Model,
    *,
    n: Annotated[
        int,
        typer.Option("-n", "--number", min=1, help="How many (rows: for each row of --context)."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Rows: .csv, .csv.gz, .parquet, .npy or .npz; images: .png, .npz or .npy.",
            show_default=False,
        ),
    ],
    seed: Seed = 0,
    temperature: Annotated[
        float, typer.Option(min=0.01, max=100, help="Below 1: nearer the typical; above: wider.")
    ] = 1.0,
    context: Annotated[
        Path | None,
        typer.Option(help="Table of contexts, for a conditional model.", show_default=False),
    ] = None,
    dialect: Dialect = None,
    class_: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            help=(
                "Classes to draw in turn [default: all], for a class-conditional model. Repeatable."
            ),
            metavar="NAME",
            show_default=False,
            rich_help_panel="Images",
        ),
    ] = None,
    columns: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images a line of a .png [default: a square].",
            show_default=False,
            rich_help_panel="Images",
        ),
    ] = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Draw rows with the training columns, in the data's own units, or images as a grid or an
    array.

    Examples:  diffeo sample model -n 1000 --seed 1 -o samples.csv

      diffeo sample model -n 64 --temperature 0.7 --class 3 -o threes.png
    """
    use_threads(threads)
    flow = open_flow(model)
    if len(flow.event_shape) == 3:
        if context is not None:
            raise ConfigError(f"{model}: a model of images takes no --context: use --class")
        refuse_table_options(model, dialect)
        from .images import draw_images

        check_room(out, n, prod(flow.event_shape), size=1)
        draw_images(out, flow, n, seed, temperature, class_ or [], columns)
        emit({"rows": n, "out": str(out)}, json, [f"{n:,} images in {out}"])
        return
    if class_ or columns:
        raise ConfigError(f"{model}: a model of tables takes neither --class nor --columns")
    schema = schema_of(flow, model)
    if (context is None) != (flow.context_shape is None):
        wanted = (
            f"columns {', '.join(schema.context_names)}"
            if flow.context_shape is not None
            else "no context"
        )
        raise ConfigError(
            f"{model}: this model takes {wanted}: {'add' if context is None else 'leave out'}"
            " --context"
        )
    rows = draw_to(
        out, flow, schema, n=n, seed=seed, temperature=temperature, context=context, dialect=dialect
    )
    emit({"rows": rows, "out": str(out)}, json, [f"{rows:,} rows in {out}"])


def draw_to(
    out: Path,
    flow: Flow,
    schema: Schema,
    *,
    n: int,
    seed: int = 0,
    temperature: float = 1.0,
    context: Path | None = None,
    dialect: str | None = None,
) -> int:
    """Write n rows (for each context) to a file; how many they were."""
    from ..data import write_table

    check_room(out, n, len(schema.columns))
    names = [*schema.names, *schema.context_names, *schema.set_aside]
    whole = [c.name for c in schema.columns if c.parsed.whole]
    return write_table(
        out,
        names,
        _draws(
            flow, schema, n=n, seed=seed, temperature=temperature, context=context, dialect=dialect
        ),
        integers=whole,
    )


def check_room(out: Path, n: int, width: int, *, size: int = 8) -> None:
    """Raise `ConfigError` when n rows of `width` numbers of `size` bytes fit neither memory nor,
    however written, the disk.
    """
    pieces = not out.name.lower().endswith((".npy", ".npz", ".png"))
    memory = (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if hasattr(os, "sysconf")
        else 2**63
    )
    place = out.parent if out.parent.is_dir() else Path()
    room, what = (
        (shutil.disk_usage(place).free, "the disk has") if pieces else (memory, "this machine has")
    )
    least = n * width * (1 if pieces else size)
    if least > room:
        raise ConfigError(
            f"--number {n}: needs at least {least / 2**30:,.0f} GiB, and {what}"
            f" {room / 2**30:,.0f}: take fewer"
        )


def _draws(
    flow: Flow,
    schema: Schema,
    *,
    n: int,
    seed: int,
    temperature: float,
    context: Path | None,
    dialect: str | None,
) -> Iterator[Any]:
    import numpy as np
    import torch

    generator = torch.Generator().manual_seed(seed)
    constants = list(schema.set_aside.values())
    for own in _contexts(schema, context, n, dialect=dialect):
        for count in batches(n, CHUNK):
            drawn = flow.sample(
                (count,), own, temperature=temperature, generator=generator
            ).double()
            if own is not None:  # (count, contexts, D): the rows of one context stand together
                drawn = (
                    torch.cat([drawn, own.expand(count, *own.shape)], -1)
                    .transpose(0, 1)
                    .flatten(0, 1)
                )
            values = drawn.numpy()
            yield np.hstack([values, np.tile(constants, (len(values), 1))]) if constants else values


def _contexts(schema: Schema, path: Path | None, n: int, *, dialect: str | None) -> Iterator[Any]:
    """Contexts (C, ...) in pieces: many when few rows are wanted of each, one at a time when many
    are.
    """
    if path is None:
        yield None
        return
    import torch

    from ..data import Schema, read_table

    wanted = Schema(columns=schema.context)
    table = read_table(path, schema=wanted, max_bad=0.0, dialect=dialect)
    say(*table.account())
    yield from torch.from_numpy(table.values).split(max(1, CHUNK // n))
