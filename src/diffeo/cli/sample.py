"""`diffeo sample`: new rows, or new images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .models import open_flow
from .options import Dialect, Json, Model, Seed, Threads, use_threads
from .output import emit
from .requests import Draws
from .verbs import verbs_of

__all__ = ["sample"]


def sample(
    model: Model,
    *,
    n: Annotated[
        int,
        typer.Option(
            "-n",
            "--number",
            min=1,
            help="Number of images or rows; with --context, for each of its rows.",
        ),
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
        float,
        typer.Option(
            min=0.01, max=100, help="Spread of the draws: more typical below 1, more varied above."
        ),
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
                "Classes to draw in turn (default: all), for a class-conditional model. Repeatable."
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
            help="Images per line of a .png (default: a square).",
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
    from ..domains import of_flow

    use_threads(threads)
    flow = open_flow(model)
    draws = Draws(
        folder=model,
        out=out,
        n=n,
        seed=seed,
        temperature=temperature,
        context=context,
        dialect=dialect,
        classes=tuple(class_ or ()),
        columns=columns,
    )
    rows = verbs_of(flow).draw(flow, draws)
    emit({"rows": rows, "out": str(out)}, json, [f"{rows:,} {of_flow(flow).event}s in {out}"])
