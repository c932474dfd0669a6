"""`diffeo evaluate`: held-out likelihood."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from .models import open_flow
from .options import Data, Dialect, Json, Labels, Model, Resize, Threads, use_threads
from .output import emit, say
from .rows import read_rows

if TYPE_CHECKING:
    from ..training import Evaluation

__all__ = ["evaluate"]


def evaluate(
    model: Model,
    data: Data,
    *,
    max_bad: Annotated[
        float, typer.Option(min=0, max=1, help="Largest share of unusable rows to accept.")
    ] = 0.01,
    importance: Annotated[
        int,
        typer.Option(
            min=1,
            help="Average the bound of a model that dequantises over so many draws of its noise.",
        ),
    ] = 1,
    dialect: Dialect = None,
    labels: Labels = None,
    resize: Resize = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Mean negative log-likelihood of DATA: nats per row in the data's own units; of images, bits
    per dimension.

    Columns are found by name. Examples:  diffeo evaluate model held_out.csv --json

      diffeo evaluate model images/ --importance 8
    """
    from ..training import evaluate as measure

    use_threads(threads)
    flow = open_flow(model)
    x, context, unusable = read_rows(
        flow, model, data, max_bad=max_bad, labels=labels, resize=resize, dialect=dialect
    )
    result = measure(flow, x, context, importance=importance)
    if unusable:
        say(f"{unusable} of {unusable + result.rows} rows were unusable and left out")
    emit(
        {**asdict(result), "importance": importance, "unusable": unusable},
        json,
        _lines(result, len(flow.event_shape) == 3),
    )


def _lines(result: Evaluation, images: bool) -> list[str]:
    bits = f"{result.bits_per_dim:.4f} ± {result.bits_per_dim_se:.4f} bits per dimension"
    nats = f"{result.nll:.4f} ± {result.nll_se:.4f} nats per {'image' if images else 'row'}"
    dequantised = "pixels" if images else "integer columns"
    bound = f" (an upper bound: {dequantised} are dequantised)" if result.bound else ""
    lines = [
        f"{bits}, {nats}{bound}"
        if images
        else f"{nats}, {result.bits_per_dim:.4f} bits per dimension{bound}"
    ]
    lines.append(f"{result.rows:,} {'images' if images else 'rows'}")
    if math.isinf(result.nll):
        lines.append(
            f"{result.outside} rows lie outside the support of a column and have density zero"
        )
    return lines
