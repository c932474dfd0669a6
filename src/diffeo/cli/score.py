"""`diffeo score`: one log-density a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .models import open_flow
from .options import Data, Dialect, Json, Labels, Model, Resize, Threads, use_threads
from .output import emit
from .requests import Rows
from .verbs import verbs_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..flow import Flow

__all__ = ["score"]


def score(
    model: Model,
    data: Data,
    *,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Where to write: .csv, .csv.gz, .parquet, .npy or .npz.",
            show_default=False,
        ),
    ],
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
    """Write the column `log_prob` in nats, one row for each row or image of DATA, in its order.

    Rows that cannot be read get NaN, rows outside a column's support −inf. Memory does not grow
    with the file. Example:  diffeo score model table.csv -o scores.parquet
    """
    from ..data import write_table

    use_threads(threads)
    flow = open_flow(model)
    counts = {"rows": 0, "unusable": 0, "outside": 0}
    rows = Rows(folder=model, data=data, labels=labels, resize=resize, dialect=dialect)
    pieces = verbs_of(flow).pieces(flow, rows)
    write_table(out, ["log_prob"], _scores(flow, pieces, importance, counts=counts))
    words = [f"{counts['rows']:,} log-densities in {out}"]
    words += [f"{counts['unusable']:,} rows were unusable (NaN)"] if counts["unusable"] else []
    words += (
        [f"{counts['outside']:,} rows lie outside the support of a column (-inf)"]
        if counts["outside"]
        else []
    )
    emit({**counts, "out": str(out)}, json, words)


def _scores(
    flow: Flow,
    pieces: Iterator[tuple[Tensor, Tensor | None]],
    importance: int,
    *,
    counts: dict[str, int],
) -> Iterator[Any]:
    import numpy as np

    from ..training import log_probs

    for piece, (x, context) in enumerate(pieces):
        values = log_probs(flow, x, context, importance=importance, seed=piece).double().numpy()
        counts["rows"] += len(values)
        counts["unusable"] += int(np.isnan(values).sum())
        counts["outside"] += int(np.isneginf(values).sum())
        yield values[:, None]
