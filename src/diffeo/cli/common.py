"""What the verbs share: options, output, tables for a model."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import ConfigError, DiffeoError, StoreError
from ..core.memory import out_of_memory
from ..core.text import printable, visible

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Schema, Table
    from ..flow import Flow

__all__ = [
    "Data",
    "Dialect",
    "Json",
    "Labels",
    "Model",
    "Resize",
    "Seed",
    "Threads",
    "batches",
    "built",
    "emit",
    "finite",
    "make_folder",
    "open_flow",
    "open_image_model",
    "open_model",
    "read_rows",
    "refuse_image_options",
    "refuse_table_options",
    "run_line",
    "say",
    "schema_of",
    "tensors",
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
            " label [default: sub-folders, or the file beside an IDX file]."
        ),
        show_default=False,
        rich_help_panel="Images",
    ),
]
Resize = Annotated[
    str | None,
    typer.Option(
        help="Scale and crop images to HEIGHTxWIDTH [default: as in training].",
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
            "How to read text tables where that is not found out: delimiter, decimal, thousands,"
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
        help="CPU threads to use; as many as cores, mask and quota allow if not given.",
        min=1,
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of the random numbers.", min=0, max=2**63 - 1)]


def say(*lines: str) -> None:
    """Words for people, on stderr; names in them may be a stranger's."""
    for line in lines:
        print(visible(line), file=sys.stderr)


def emit(result: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    """The result: JSON for programs, lines for people, on stdout."""
    if as_json:
        print(_printable(json.dumps(finite(result), ensure_ascii=False)))
    else:
        print("\n".join(visible(part) for line in lines for part in line.split("\n")))


def _printable(text: str) -> str:
    """The same JSON, with what a terminal would act on written as escapes: names in a model may be
    a stranger's.
    """
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
    )


def finite(value: Any) -> Any:
    """JSON knows no inf and no NaN: they become null."""
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


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


def open_model(folder: Path) -> tuple[Flow, Schema]:
    """A model of tables and the schema of its table."""
    flow = open_flow(folder)
    return flow, schema_of(flow, folder)


def open_flow(folder: Path) -> Flow:
    """A model of anything; raises `StoreError` when its notes are not such as diffeo makes."""
    from ..store import load
    from .notes import check_notes

    flow = load(folder)
    check_notes(flow, folder)
    return flow


def open_image_model(folder: Path) -> Flow:
    """A model of images; raises `ConfigError` for one of tables."""
    flow = open_flow(folder)
    if len(flow.event_shape) != 3:
        raise ConfigError(f"{folder}: a model of tables; this command is for models of images")
    return flow


def read_rows(
    flow: Flow,
    folder: Path,
    data: Path,
    max_bad: float,
    labels: Path | None,
    resize: str | None,
    most: int | None = None,
    dialect: str | None = None,
) -> tuple[Tensor, Tensor | None, int]:
    """Rows, or (at most `most`) images, with their contexts, as a model wants them, and how many
    were unusable.
    """
    if len(flow.event_shape) == 3:
        from .images import read_for
        from .images import tensors as image_tensors

        refuse_table_options(folder, dialect)
        images = read_for(flow, data, labels, resize)
        return *image_tensors(images.subset(slice(0, most)), flow.context_shape == ()), 0
    from ..data import read_table

    refuse_image_options(folder, labels, resize)
    table = read_table(data, schema=schema_of(flow, folder), max_bad=max_bad, dialect=dialect)
    say(*table.account())
    return *tensors(table), table.intake.total - table.intake.kept


def refuse_image_options(folder: Path, labels: Path | None, resize: str | None) -> None:
    """Raise `ConfigError` when a model of tables is given options for images."""
    if labels is not None or resize is not None:
        raise ConfigError(f"{folder}: a model of tables takes neither --labels nor --resize")


def refuse_table_options(folder: Path, dialect: str | None) -> None:
    """Raise `ConfigError` when a model of images is given options for tables."""
    if dialect is not None:
        raise ConfigError(f"{folder}: a model of images takes no --dialect")


@contextlib.contextmanager
def built(model: str, args: dict[str, Any]) -> Iterator[None]:
    """Arguments that a model function cannot take are the user's, from `--set`: one line."""
    try:
        yield
    except (
        TypeError,
        ValueError,
        RuntimeError,
        AttributeError,
        ArithmeticError,
        LookupError,
    ) as error:
        if isinstance(error, DiffeoError) or out_of_memory(error):
            raise
        raise ConfigError(
            f"--set: {model} cannot be built from {args}: {str(error).splitlines()[0]}"
        ) from None


def run_line(s: dict[str, Any]) -> str:
    """Where the model is and what it cost."""
    return (
        f"model    {s['out']}   ({s['parameters']:,} parameters, {s['steps']:,} steps,"
        f" {s['seconds']:.0f} s, {s['stopped']})"
    )


def schema_of(flow: Flow, folder: Path) -> Schema:
    """The schema stored with a model; a model fitted to arrays gets columns x0, x1, ..."""
    import pydantic

    from ..data import Column, Schema

    noted = flow.metadata.get("schema")
    if noted is None:
        if len(flow.event_shape) != 1:
            raise ConfigError(
                f"{folder}: a model of events {flow.event_shape} does not read tables"
            )
        return Schema(columns=tuple(Column(name=f"x{i}") for i in range(flow.event_shape[0])))
    try:
        schema = Schema.model_validate(noted)
    except pydantic.ValidationError as error:
        raise StoreError(
            f"{folder}: its column schema is damaged: {printable(error.errors()[0]['msg'])}"
        ) from None
    if (len(schema.columns),) != flow.event_shape:
        raise StoreError(
            f"{folder}: its schema has {len(schema.columns)} columns, its flow events"
            f" {flow.event_shape}"
        )
    if (len(schema.context),) != (flow.context_shape or (0,)):
        raise StoreError(
            f"{folder}: its schema has {len(schema.context)} context columns, its flow"
            f" {flow.context_shape}"
        )
    return schema


def tensors(table: Table) -> tuple[Tensor, Tensor | None]:
    """Rows and contexts of a table."""
    import torch

    return torch.from_numpy(table.values), (
        None if table.context is None else torch.from_numpy(table.context)
    )


def batches(total: int, size: int) -> Iterator[int]:
    """total cut into pieces of at most size."""
    for start in range(0, total, size):
        yield min(size, total - start)


def make_folder(folder: Path) -> None:
    """Make the folder of --out; raises `ConfigError` where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot make this folder: {error.strerror}") from None
