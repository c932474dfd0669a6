"""What the verbs share: options, output, tables for a model."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Schema, Table
    from ..flow import Flow

__all__ = ["Json", "Model", "Threads", "emit", "open_model", "say", "schema_of", "tensors", "use_threads"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
Model = Annotated[Path, typer.Argument(help="A model folder made by `diffeo fit`.", show_default=False)]
Data = Annotated[Path, typer.Argument(help="A table: .csv, .csv.gz, .tsv, .parquet, .npy or .npz.", show_default=False)]
Threads = Annotated[int | None, typer.Option(help="CPU threads to use; all cores if not given.", min=1, show_default=False)]
Seed = Annotated[int, typer.Option(help="Seed of the random numbers.", min=0, max=2**63 - 1)]


def say(*lines: str) -> None:
    """Words for people, on stderr."""
    for line in lines:
        print(line, file=sys.stderr)


def emit(result: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    """The result: JSON for programs, lines for people, on stdout."""
    if as_json:
        print(json.dumps(_finite(result), ensure_ascii=False))
    else:
        print("\n".join(lines))


def _finite(value: Any) -> Any:
    """JSON knows no inf and no NaN: they become null."""
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def use_threads(threads: int | None) -> None:
    """Set torch's number of threads."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def open_model(folder: Path) -> tuple[Flow, Schema]:
    """A model and the schema of its table."""
    from ..store import load

    flow = load(folder)
    return flow, schema_of(flow, folder)


def schema_of(flow: Flow, folder: Path) -> Schema:
    """The schema stored with a model; a model fitted to arrays gets columns x0, x1, ..."""
    import pydantic

    from ..data import Column, Schema

    noted = flow.metadata.get("schema")
    if noted is None:
        if len(flow.event_shape) != 1:
            raise ConfigError(f"{folder}: a model of events {flow.event_shape} does not read tables")
        return Schema(columns=tuple(Column(name=f"x{i}") for i in range(flow.event_shape[0])))
    try:
        schema = Schema.model_validate(noted)
    except pydantic.ValidationError as error:
        raise StoreError(f"{folder}: its column schema is damaged: {error.errors()[0]['msg']}") from None
    if (len(schema.columns),) != flow.event_shape:
        raise StoreError(f"{folder}: its schema has {len(schema.columns)} columns, its flow events {flow.event_shape}")
    return schema


def tensors(table: Table) -> tuple[Tensor, Tensor | None]:
    """Rows and contexts of a table."""
    import torch

    return torch.from_numpy(table.values), None if table.context is None else torch.from_numpy(table.context)


def batches(total: int, size: int) -> Iterator[int]:
    """total cut into pieces of at most size."""
    for start in range(0, total, size):
        yield min(size, total - start)
