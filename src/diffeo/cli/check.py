"""`diffeo check`: the checkup."""

from __future__ import annotations

from typing import Annotated

import typer

from .models import open_flow
from .options import Data, Dialect, Json, Labels, Model, Resize, Threads, use_threads
from .output import emit
from .requests import Rows
from .verbs import verbs_of

__all__ = ["check"]


def check(
    model: Model,
    data: Data,
    *,
    rows: Annotated[
        int, typer.Option(min=1, help="Maximum number of rows to check; a few hundred of images.")
    ] = 10_000,
    dialect: Dialect = None,
    labels: Labels = None,
    resize: Resize = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Is this model right on this data? Round trips both ways, log-dets against autograd,
    precision, worst layer.

    Examples:  diffeo check model table.csv,  diffeo check model images/
    """
    from ..checkup import check as measure
    from ..training import rows_per_pass

    use_threads(threads)
    flow = open_flow(model)
    asked = Rows(
        folder=model, data=data, labels=labels, resize=resize, dialect=dialect, max_bad=1.0
    )
    x, context, _ = verbs_of(flow).read(flow, asked, first=rows_per_pass(flow.event_shape))
    result = measure(flow, x, context, rows=rows)
    width = max(len(label) for label, _ in result.lines())
    emit(
        result.as_dict(),
        json,
        [*(f"{label:<{width}}  {value}" for label, value in result.lines()), result.verdict],
    )
