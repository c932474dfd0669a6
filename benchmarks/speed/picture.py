"""The sweeps as a picture: time of a training step against depth, dimension, batch and bins."""

from __future__ import annotations

import math
import statistics
from itertools import accumulate
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from .rows import ROWS

__all__ = ["draw"]

COLOURS = {
    "diffeo": "#d1495b",
    "zuko": "#2e86ab",
    "nflows": "#3b8c5a",
    "flowjax": "#8e5ea2",
    "bare": "#777777",
}
NAMES = {"bare": "bare networks"}
GAP = 0.06  # least distance of two labels, as a share of the panel's height


def draw(record: dict[str, Any], path: Path) -> bool:
    """Write the picture; False if there is no sweep of times in the record."""
    sweeps = [
        found
        for found in record["rows"]
        if ROWS[found["name"]].vary and ROWS[found["name"]].jobs == ("step",)
    ]
    if not sweeps:
        return False
    columns = min(2, len(sweeps))
    lines = math.ceil(len(sweeps) / columns)
    figure = Figure(figsize=(6.2 * columns, 4.3 * lines), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, found in zip(
        figure.subplots(lines, columns, squeeze=False).flat, sweeps, strict=False
    ):
        panel(axes, found)
    m = record["machine"]
    figure.suptitle(
        "Training step of a neural spline flow: D = 16, 8 layers, 8 bins, batch 1,024 unless"
        f" varied\n{m['cpu']}, {record['arguments']['threads']} threads, medians",
        fontsize=10,
    )
    figure.savefig(path)
    return True


def panel(axes: Axes, found: dict[str, Any]) -> None:
    """One sweep, log-log, with each line's name at its end."""
    row, values = ROWS[found["name"]], [point["value"] for point in found["points"]]
    axes.set(xscale="log", yscale="log", xlabel=row.label, ylabel="ms")
    ends = {}
    for name in row.contenders:
        measured = [(p["value"], p["contenders"][name]["times"]["step"]) for p in found["points"]]
        line = [(value, statistics.median(times)) for value, times in measured if times]
        if line:
            width = 2.4 if name == "diffeo" else 1.4
            axes.plot(
                *zip(*line, strict=True),
                "--" if name == "bare" else "-",
                color=COLOURS[name],
                lw=width,
                marker="o",
                ms=3.5,
            )
            ends[name] = line[-1]
    axes.set_xlim(values[0] / 1.1, values[-1] * (values[-1] / values[0]) ** 0.28)
    axes.set_xticks(values, [f"{v:,}" for v in values])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    labels(axes, ends)


def labels(axes: Axes, ends: dict[str, tuple[float, float]]) -> None:
    """Names beside the ends of their lines, pushed apart where they would overlap."""
    low, high = (math.log(v) for v in axes.get_ylim())
    names = sorted(ends, key=lambda name: ends[name][1])
    heights = apart([(math.log(ends[name][1]) - low) / (high - low) for name in names])
    for name, height in zip(names, heights, strict=True):
        place = (ends[name][0], math.exp(low + height * (high - low)))
        axes.annotate(
            NAMES.get(name, name),
            place,
            (7, 0),
            textcoords="offset points",
            color=COLOURS[name],
            va="center",
        )


def apart(heights: list[float]) -> list[float]:
    """Ascending heights with gaps between them, none above 1."""
    upwards = list(accumulate(heights, lambda below, height: max(height, below + GAP)))
    downwards = accumulate(
        reversed(upwards), lambda above, height: min(height, above - GAP), initial=1 + GAP
    )
    return list(downwards)[:0:-1]
