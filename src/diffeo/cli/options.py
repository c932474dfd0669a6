"""Options that several verbs have, and what follows from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import ConfigError

__all__ = [
    "Data",
    "Dialect",
    "Json",
    "Labels",
    "Model",
    "Resize",
    "Seed",
    "Threads",
    "make_folder",
    "use_threads",
]

THREADS_PER_CORE = 8  # more are never faster, and thousands end the process

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")
]
Model = Annotated[
    Path, typer.Argument(help="A model folder made by `diffeo fit`.", show_default=False)
]
Data = Annotated[
    Path,
    typer.Argument(
        help=(
            "A table (.csv, .csv.gz, .tsv, .parquet, .npy, .npz) or images (a folder, .png, .jpg,"
            " .npz, .npy, IDX, sklearn:digits)."
        ),
        show_default=False,
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        help=(
            "Labels of the images: IDX, .npy, or for a folder a CSV file with columns file and"
            " label (default: sub-folders, or the file beside an IDX file)."
        ),
        show_default=False,
        rich_help_panel="Images",
    ),
]
Resize = Annotated[
    str | None,
    typer.Option(
        help="Scale and crop images to HEIGHTxWIDTH (default: as in training).",
        metavar="HxW",
        show_default=False,
        rich_help_panel="Images",
    ),
]
Dialect = Annotated[
    str | None,
    typer.Option(
        "--dialect",
        help=(
            "Override what is detected of text tables: delimiter, decimal, thousands,"
            " encoding, header, missing; such as delimiter=;,decimal=comma,header=2"
            " (docs/tables.md)."
        ),
        metavar="KEY=VALUE,...",
        show_default=False,
        rich_help_panel="Tables",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        help="Number of CPU threads (default: as many as cores, affinity and quota allow).",
        min=1,
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of the random numbers.", min=0, max=2**63 - 1)]


def use_threads(threads: int | None) -> None:
    """Set torch's number of threads: without a wish, no more than this process may keep busy.

    Raises `ConfigError` for more than the system can be asked for.
    """
    import torch

    from ..kernels.processors import processors

    cores = os.cpu_count() or 1
    if threads is None:
        threads = min(torch.get_num_threads(), processors())
    elif not 1 <= threads <= THREADS_PER_CORE * cores:
        raise ConfigError(
            f"--threads {threads}: this machine has {cores} cores: give 1 to"
            f" {THREADS_PER_CORE * cores}"
        )
    torch.set_num_threads(threads)


def make_folder(folder: Path) -> None:
    """Make the folder of --out; raises `ConfigError` where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot make this folder: {error.strerror}") from None
