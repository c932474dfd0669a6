"""`diffeo check`: the checkup."""

from __future__ import annotations

from typing import Annotated

import typer

from .common import Data, Json, Model, Threads, emit, open_model, tensors, use_threads

__all__ = ["check"]


def check(
    model: Model,
    data: Data,
    rows: Annotated[int, typer.Option(min=1, help="Look at no more than so many rows.")] = 10_000,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Is this model right on this data? Round trips both ways, log-dets against autograd, precision, worst layer.

    Example:  diffeo check model table.csv
    """
    from ..checkup import check as measure
    from ..data import read_table

    use_threads(threads)
    flow, schema = open_model(model)
    result = measure(flow, *tensors(read_table(data, schema=schema, max_bad=1.0)), rows=rows)
    width = max(len(label) for label, _ in result.lines())
    emit(result.as_dict(), json, [*(f"{label:<{width}}  {value}" for label, value in result.lines()), result.verdict])
