"""`diffeo score`: one log-density a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import Data, Json, Model, Threads, emit, open_model, use_threads

if TYPE_CHECKING:
    from ..data import Schema
    from ..flow import Flow

__all__ = ["score"]


def score(
    model: Model,
    data: Data,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Where to write: .csv, .csv.gz, .parquet, .npy or .npz.", show_default=False)
    ],
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Write the column `log_prob`, one row for each row of DATA, in its order.

    Rows that cannot be read get NaN, rows outside a column's support −inf. Memory does not grow with the file.
    Example:  diffeo score model table.csv -o scores.parquet
    """
    from ..data import write_table

    use_threads(threads)
    flow, schema = open_model(model)
    counts = {"rows": 0, "unusable": 0, "outside": 0}
    write_table(out, ["log_prob"], _scores(flow, data, schema, counts))
    words = [f"{counts['rows']:,} log-densities in {out}"]
    words += [f"{counts['unusable']:,} rows were unusable (NaN)"] if counts["unusable"] else []
    words += [f"{counts['outside']:,} rows lie outside the support of a column (-inf)"] if counts["outside"] else []
    emit({**counts, "out": str(out)}, json, words)


def _scores(flow: Flow, data: Path, schema: Schema, counts: dict[str, int]) -> Iterator[Any]:
    import numpy as np

    from ..data import iter_tables
    from ..training import log_probs
    from .common import tensors

    for piece, table in enumerate(iter_tables(data, schema=schema)):
        values = log_probs(flow, *tensors(table), seed=piece).double().numpy()
        counts["rows"] += len(values)
        counts["unusable"] += int(np.isnan(values).sum())
        counts["outside"] += int(np.isneginf(values).sum())
        yield values[:, None]
