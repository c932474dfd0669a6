"""What all pictures share: how they look, what their axes span, and matplotlib without pyplot
turned into data URIs.
"""

from __future__ import annotations

import base64
import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DATA",
    "GREY",
    "SAMPLES",
    "bin_edges",
    "canvas",
    "data_uri",
    "png",
    "robust_range",
    "svg",
]

Floats = NDArray[np.float64]
DATA = "#3b6ea5"
SAMPLES = "#d9541e"
GREY = "#666666"
STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "font.family": "DejaVu Sans",
    "text.usetex": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.8,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "svg.fonttype": "path",
    "svg.hashsalt": "diffeo",
    "figure.facecolor": "white",
}


@contextmanager
def canvas(width: float, height: float, *, placed: bool = False) -> Iterator[Any]:
    """A figure that lays itself out, unless its parts are `placed` by hand."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # a column name in a script that the font lacks is no reason to stop
        warnings.simplefilter("ignore")
        yield Figure(figsize=(width, height), layout=None if placed else "constrained")


def svg(figure: Any) -> str:
    """The figure as a data URI, drawn in lines."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return data_uri("svg+xml", buffer.getvalue())


def png(figure: Any) -> str:
    """The figure as a data URI, in dots: smaller where there are many points."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return data_uri("png", buffer.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    """The bytes of a picture of a kind such as `png`, as an address that holds them."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def robust_range(values: Floats) -> tuple[float, float]:
    """A range that a few outliers cannot stretch."""
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = (float(v) for v in np.quantile(values, (0.005, 0.995)))
    margin = 0.1 * (high - low)
    low, high = (
        max(float(values.min()), low - 2 * margin),
        min(float(values.max()), high + 2 * margin),
    )
    if high <= low:
        size = max(abs(low), 1e-300)
        return low - 0.5 * size, low + 0.5 * size
    return low - 0.04 * (high - low), high + 0.04 * (high - low)


def bin_edges(data: Floats, positive: bool = False, whole: bool = False) -> tuple[Floats, bool]:
    """Bin edges, and whether they are for a logarithmic axis."""
    low, high = robust_range(data)
    count = int(np.clip(2 * len(data) ** (1 / 3), 8, 40))
    if whole and high - low < 60:
        return np.arange(math.floor(low) - 0.5, math.ceil(high) + 1), False
    if positive and len(data) and (data > 0).all():
        bottom, top = (float(v) for v in np.quantile(data, (0.005, 0.995)))
        if top > 50 * bottom > 0:
            return np.geomspace(bottom / 1.5, top * 1.5, count + 1), True
    return np.linspace(low, high, count + 1), False
