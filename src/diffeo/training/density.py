"""Rows without a density are warned of before a flow is fitted to them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import Tensor

from ..checkup import DensityWarning, density
from ..flow import Flow

__all__ = ["warn_without_density"]

MOST_ROWS = 2_000  # looked at, so that a look takes tenths of a second
MOST_COLUMNS = 30  # compared with each other
MOST_NAMED = 3  # problems in the text


def warn_without_density(
    flow: Flow, rows: Sequence[Tensor], names: Sequence[str] | None, *, stacklevel: int
) -> None:
    """Warn once with `DensityWarning` where rows x (N, D), and contexts if there are any, have no
    density: a value of a real column repeats, or other columns determine one.

    Looks at 2,000 rows at most, spread evenly, and compares up to 30 columns with each other.
    Flows built by hand that dequantise are taken as they are.
    """
    kinds = flow.card.args.get("supports")
    if kinds is None and not flow.exact:
        return
    every = max(1, -(-len(rows[0]) // MOST_ROWS))
    values = [part[::every].double().flatten(1).cpu().numpy() for part in rows]
    context = values[1] if len(values) > 1 else None
    result = density(values[0], kinds, names, context=context, most_columns=MOST_COLUMNS)
    if result.ok:
        return
    shown = "; ".join(result.problems[:MOST_NAMED])
    more = len(result.problems) - MOST_NAMED
    rest = f"; and {more} more" if more > 0 else ""
    warnings.warn(
        f"these rows have no density, so their likelihood grows without end: {shown}{rest}",
        DensityWarning,
        stacklevel=stacklevel + 1,
    )
