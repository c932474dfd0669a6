"""`diffeo score`: one log-density a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .models import open_flow, schema_of
from .options import Data, Dialect, Json, Labels, Model, Resize, Threads, use_threads
from .output import emit, say
from .rows import read_rows, refuse_image_options

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
            help="Average the bound of a model that dequantises over so many draws of its noise.",
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
    pieces = _pieces(flow, model, data, dialect=dialect, labels=labels, resize=resize)
    write_table(out, ["log_prob"], _scores(flow, pieces, importance, counts=counts))
    words = [f"{counts['rows']:,} log-densities in {out}"]
    words += [f"{counts['unusable']:,} rows were unusable (NaN)"] if counts["unusable"] else []
    words += (
        [f"{counts['outside']:,} rows lie outside the support of a column (-inf)"]
        if counts["outside"]
        else []
    )
    emit({**counts, "out": str(out)}, json, words)


def _pieces(
    flow: Flow,
    model: Path,
    data: Path,
    *,
    dialect: str | None,
    labels: Path | None,
    resize: str | None,
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """A table in pieces of bounded size; images, which are bytes, whole."""
    if len(flow.event_shape) == 3:
        yield read_rows(
            flow, model, data, max_bad=0.0, labels=labels, resize=resize, dialect=dialect
        )[:2]
        return
    from ..data import iter_tables
    from .rows import tensors

    refuse_image_options(model, labels, resize)

    reasons: Counter[str] = Counter()
    reading: tuple[str, ...] = ()
    for piece in iter_tables(data, schema=schema_of(flow, model), dialect=dialect):
        reasons.update(piece.intake.reasons)
        reading = piece.reading
        yield tensors(piece)
    say(
        *(f"{data}: {n:,} × {reason}" for reason, n in reasons.most_common(5)),
        *(f"{data}: {words}" for words in reading),
    )


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
