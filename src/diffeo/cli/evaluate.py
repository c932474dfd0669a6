"""`diffeo evaluate`: held-out likelihood."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from .models import open_flow
from .options import Data, Dialect, Json, Labels, Model, Resize, Threads, use_threads
from .output import emit, say
from .requests import Rows
from .verbs import verbs_of

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
            help="Number of noise draws to average the bound over, for a model that dequantises.",
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

    Columns are looked up by name. Examples:  diffeo evaluate model held_out.csv --json

      diffeo evaluate model images/ --importance 8
    """
    from ..training import evaluate as measure

    use_threads(threads)
    flow = open_flow(model)
    rows = Rows(
        folder=model, data=data, labels=labels, resize=resize, dialect=dialect, max_bad=max_bad
    )
    x, context, unusable = verbs_of(flow).read(flow, rows)
    result = measure(flow, x, context, importance=importance)
    if unusable:
        say(f"{unusable} of {unusable + result.rows} rows were unusable and left out")
    emit(
        {**asdict(result), "importance": importance, "unusable": unusable},
        json,
        verbs_of(flow).likelihood(result),
    )
