"""`diffeo evaluate`: held-out likelihood."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Annotated

import typer

from .common import Data, Json, Model, Threads, emit, open_model, say, tensors, use_threads

__all__ = ["evaluate"]


def evaluate(
    model: Model,
    data: Data,
    max_bad: Annotated[float, typer.Option(help="Largest share of unusable rows to accept.")] = 0.01,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Mean negative log-likelihood of the rows of DATA, in nats per row and the data's own units.

    Columns are found by name. Example:  diffeo evaluate model held_out.csv --json
    """
    from ..data import read_table
    from ..training import evaluate as measure

    use_threads(threads)
    flow, schema = open_model(model)
    table = read_table(data, schema=schema, max_bad=max_bad)
    result = measure(flow, *tensors(table))
    if table.intake.kept < table.intake.total:
        say(f"{table.intake.total - table.intake.kept} of {table.intake.total} rows were unusable and left out")
    bound = " (an upper bound: integer columns are dequantised)" if result.bound else ""
    lines = [
        f"{result.nll:.4f} ± {result.nll_se:.4f} nats per row, {result.bits_per_dim:.4f} bits per dimension{bound}",
        f"{result.rows:,} rows",
    ]
    if math.isinf(result.nll):
        lines.append(f"{result.outside} rows lie outside the support of a column and have density zero")
    emit({**asdict(result), "unusable": table.intake.total - table.intake.kept}, json, lines)
