"""pandas data frames and series, column by column; polars and pyarrow come by Arrow
(`arrays.arrow_source`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError
from ..names import refuse_duplicates
from .arrays import ArraySource

__all__ = ["frame_source", "is_pandas"]


def is_pandas(source: Any) -> bool:
    """True for a data frame or a series of pandas, without importing it."""
    return any(
        c.__module__.split(".")[0] == "pandas" and c.__name__ in ("DataFrame", "Series")
        for c in type(source).__mro__
    )


def frame_source(frame: Any) -> ArraySource:
    """A pandas data frame, or a series as its only column. The index is no column; a named one is
    noted.

    NA and None are empty cells, sparse columns are filled, categories and dates are `text`.
    """
    label = type(frame).__name__
    if frame.ndim == 1:
        frame = frame.to_frame("x0" if frame.name is None else frame.name)
    if frame.shape[1] == 0:
        raise DataError(f"{label}: the table has no columns")
    names = [str(n) for n in frame.columns]
    refuse_duplicates(label, names)
    series = [frame.iloc[:, j] for j in range(len(names))]
    text = {
        n: "of categories, not numbers"
        for n, s in zip(names, series, strict=True)
        if str(s.dtype) == "category"
    }
    return ArraySource(
        label, [_column(s) for s in series], names, text=text, notes=_index_note(frame.index)
    )


def _column(series: Any) -> NDArray[Any]:
    """A NumPy column; of a nullable type a masked one, which keeps whole numbers whole."""
    kind = getattr(series.dtype, "kind", "O")
    plain = getattr(series.dtype, "numpy_dtype", None)
    # the latter: a sparse column
    if isinstance(series.dtype, np.dtype) or hasattr(series.dtype, "fill_value"):
        return np.asarray(series)
    if plain is not None and kind in "biuf":
        values = series.to_numpy(dtype=plain, na_value=0)
        return np.ma.masked_array(values, mask=series.isna().to_numpy())
    return np.asarray(series.astype(object))


def _index_note(index: Any) -> tuple[str, ...]:
    names = [str(n) for n in index.names if n is not None]
    if not names and getattr(index.dtype, "kind", "O") in "iu":
        return ()
    named = f" {', '.join(map(repr, names))}" if names else ""
    return (f"the index{named} was not read: reset_index() makes it a column",)
