"""`diffeo fit`: from a table or images to a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.errors import ConfigError
from .options import Data, Dialect, Json, Labels, Threads, use_threads
from .output import emit
from .signals import saves_on_signals

__all__ = ["fit"]

EXAMPLES = """
Examples:

  diffeo fit table.csv --out model

  diffeo fit table.csv --out model --minutes 5 --column age=positive --column angle=circular:0:360

  diffeo fit table.parquet --out model --context dose,site          # p(other columns | dose, site)

  diffeo fit table.csv --out model --model realnvp --set layers=12 --set "hidden=[256, 256]"

  diffeo fit images/ --out model --model glow --size small --minutes 30   # PNG, JPEG, .npz, IDX

  diffeo fit train-images-idx3-ubyte.gz --out model --context label --flips   # p(image | class)

  diffeo fit table.csv --out model --resume   # after an interruption: same options, same result

MODEL gets the weights, metrics.jsonl and report.html; of tables with bad rows rejects.csv,
of images samples/.
"""
TABLES, IMAGES = "Tables", "Images"


def fit(
    data: Data,
    *,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder for the model; made if missing.", show_default=False
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="nsf (tables' default), realnvp, nice; images also glow (default), flowpp, jet.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Maximum number of training steps.", show_default=False)
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(help="Maximum number of passes over the training data.", show_default=False),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Maximum training time in minutes.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of split, weights and batches (default: 0).", show_default=False),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the run in MODEL, bit for bit.")
    ] = False,
    context: Annotated[
        str | None,
        typer.Option(
            help="Columns to condition on, comma-separated; of images: label.",
            metavar="COLS",
            show_default=False,
        ),
    ] = None,
    valid: Annotated[
        Path | None,
        typer.Option(
            help="Held-out rows or images (default: a tenth of DATA).", show_default=False
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Rows per step (default: by data size).", show_default=False)
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Peak learning rate (default: 1e-3).", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with any of these options.", show_default=False)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help=(
                "Any setting of the training or the model (model.KEY where both have it)."
                " Repeatable."
            ),
            metavar="KEY=VALUE",
            show_default=False,
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="store (default), or invert: memory that does not grow with the depth.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto (default), cpu or cuda.", show_default=False)
    ] = None,
    threads: Threads = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help=(
                "Kind of a column: NAME=real, positive, integer, interval:LOW:HIGH or"
                " circular:LOW:HIGH. Repeatable."
            ),
            metavar="NAME=KIND",
            show_default=False,
            rich_help_panel=TABLES,
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            help="Leave a column out. Repeatable.", show_default=False, rich_help_panel=TABLES
        ),
    ] = None,
    max_bad: Annotated[
        float | None,
        typer.Option(
            help="Largest share of unusable rows to accept (default: 0.01).",
            show_default=False,
            rich_help_panel=TABLES,
        ),
    ] = None,
    dialect: Dialect = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Size of the model: tiny, small (default) or paper.",
            show_default=False,
            rich_help_panel=IMAGES,
        ),
    ] = None,
    labels: Labels = None,
    valid_labels: Annotated[
        Path | None,
        typer.Option(
            help="Labels of the images of --valid.", show_default=False, rich_help_panel=IMAGES
        ),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(
            help="Number of bits that 16-bit PNG files hold, 8 to 16.",
            show_default=False,
            rich_help_panel=IMAGES,
        ),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            help="Reduce pixels to this number of bits (default: all they have).",
            show_default=False,
            rich_help_panel=IMAGES,
        ),
    ] = None,
    resize: Annotated[
        str | None,
        typer.Option(
            help="Scale and crop images to HEIGHTxWIDTH.",
            metavar="HxW",
            show_default=False,
            rich_help_panel=IMAGES,
        ),
    ] = None,
    colour: Annotated[
        str | None,
        typer.Option(
            help="Convert to grey or rgb (default: as stored).",
            show_default=False,
            rich_help_panel=IMAGES,
        ),
    ] = None,
    flips: Annotated[
        bool, typer.Option("--flips", help="Mirror images at random.", rich_help_panel=IMAGES)
    ] = False,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Precision of the networks: float32 (default) or bfloat16.",
            show_default=False,
            rich_help_panel=IMAGES,
        ),
    ] = None,
    no_report: Annotated[
        bool, typer.Option("--no-report", help="Do not write report.html.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    json: Json = False,
) -> None:
    from ..domains import of_source
    from .config import collect
    from .run import read_job, run_job

    options = {
        "model": model,
        "steps": steps,
        "epochs": epochs,
        "minutes": minutes,
        "seed": seed,
        "context": [name.strip() for name in context.split(",")] if context else None,
        "valid": valid,
        "columns": dict(_pair(text) for text in column or []),
        "drop": drop,
        "max_bad": max_bad,
        "dialect": dialect,
        "batch_size": batch_size,
        "lr": lr,
        "memory": memory,
        "device": device,
        "threads": threads,
        "labels": labels,
        "valid_labels": valid_labels,
        "bits": bits,
        "depth": depth,
        "resize": resize,
        "colour": colour,
        "flips": flips or None,
        "precision": precision,
        "report": False if no_report else None,
    }
    more = [*(set_ or []), *([f"size={size}"] if size else [])]
    before = out if resume else None
    settings = collect(config, more, options, resume_from=before, domain=of_source(data))
    use_threads(settings.threads)
    job = read_job(data, out, settings, resume=resume, quiet=quiet)
    with saves_on_signals():
        summary, lines = run_job(job, out, settings, resume=resume, quiet=quiet)
        emit(summary, json, lines)


fit.__doc__ = f"Train a flow on a table or on images and write MODEL with a report.\n{EXAMPLES}"


def _pair(text: str) -> tuple[str, Any]:
    name, equals, kind = text.rpartition("=")
    if not equals:
        raise ConfigError(f"--column {text}: write NAME=KIND, such as --column age=positive")
    return name, kind
