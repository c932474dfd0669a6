"""The pictures: matplotlib without pyplot, as data URIs on a white ground (legible on dark pages
too).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .canvas import DATA, GREY, SAMPLES, bin_edges, canvas, png, robust_range, svg

__all__ = ["against_normal", "corner", "histogram", "latent", "loss_curves", "two_groups"]

Floats = NDArray[np.float64]
CELL = 1.75  # inches, of a corner plot
NARROWEST = 7.0  # inches: pictures are shown as wide as the page, and few cells would become huge


def loss_curves(
    history: Sequence[dict[str, Any]],
    best_step: float | None,
    *,
    label: str = "NLL, nats per row",
    scale: float = 1.0,
    rows: str = "rows",
    floor: tuple[float, str] | None = None,
) -> str | None:
    """Training and validation loss against step, the step of the weights kept marked; None when
    there is nothing to draw.

    Losses in nats per row are drawn times `scale`, with the axis `label`; `floor`, a level and its
    name, as a dotted line.
    """
    lines = {key: _curve(history, key, scale) for key in ("train", "valid")}
    if all(len(steps) == 0 for steps, _ in lines.values()):
        return None
    with canvas(8.0, 3.4) as figure:
        axes = figure.subplots()
        for key, colour, name in (
            ("train", DATA, "training batches"),
            ("valid", SAMPLES, f"validation {rows}"),
        ):
            steps, values = lines[key]
            if len(steps):
                axes.plot(
                    steps,
                    values,
                    color=colour,
                    label=name,
                    linewidth=1.6,
                    marker="o" if len(steps) < 3 else None,
                )
        _band(axes, history, scale)
        if best_step is not None:
            axes.axvline(
                best_step,
                color=GREY,
                linestyle="--",
                linewidth=1,
                label=f"weights kept: step {int(best_step):,}",
            )
        curves = [values for _, values in lines.values() if len(values)]
        if floor is not None:
            axes.axhline(floor[0], color=GREY, linestyle=":", linewidth=1.2, label=floor[1])
            curves.append(np.array([floor[0]]))
        _calm(axes, curves)
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        axes.grid(alpha=0.25)
        axes.legend(
            frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, borderaxespad=0.1
        )
        return svg(figure)


def histogram(data: Floats, samples: Floats, *, positive: bool = False, whole: bool = False) -> str:
    """One column: data as a filled histogram, samples as a line, on common bins."""
    data, samples = data[np.isfinite(data)], samples[np.isfinite(samples)]
    edges, log = bin_edges(data, positive, whole)
    offset, factor, label = (0.0, 1.0, "") if log else _units(edges[0], edges[-1])
    edges = (edges - offset) / factor
    with canvas(2.8, 1.75, placed=True) as figure:
        axes = figure.add_axes((0.08, 0.26 if label else 0.16, 0.84, 0.72 if label else 0.82))
        widths = np.diff(np.log(edges)) if log else np.diff(edges)
        heights = [
            np.histogram((v - offset) / factor, edges)[0] / max(1, len(v)) / widths
            for v in (data, samples)
        ]
        axes.stairs(heights[0], edges, fill=True, color=DATA, alpha=0.45)
        axes.stairs(heights[1], edges, color=SAMPLES, linewidth=1.5)
        if log:
            axes.set_xscale("log")
            axes.minorticks_off()
        _ticks(axes, log)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0, 1.15 * max(float(h.max()) for h in heights) or 1.0)
        axes.set_xlabel(label)
        return svg(figure)


def corner(
    data: Floats, samples: Floats | None, names: Sequence[str], *, rho: tuple[Floats, ...]
) -> str:
    """Every pair of columns: points of data and samples below the diagonal, rank correlations `rho`
    of both above it.

    Without samples only what is of the data is drawn.
    """
    n = len(names)
    width = max(NARROWEST, CELL * n + 1.1)
    height = CELL * n + 0.8
    spare = 0.5 * (width - CELL * n - 1.1)
    # the general layout engine takes a second for this
    with canvas(width, height, placed=True) as figure:
        grid = figure.add_gridspec(
            n,
            n,
            left=(1.0 + spare) / width,
            right=1 - (0.1 + spare) / width,
            bottom=0.7 / height,
            top=1 - 0.1 / height,
            wspace=0.1,
            hspace=0.1,
        )
        limits = [robust_range(data[:, i]) for i in range(n)]
        units = [_units(*each) for each in limits]
        scaled = [
            np.stack([(v[:, i] - u[0]) / u[1] for i, u in enumerate(units)], 1)
            for v in (data, samples)
            if v is not None
        ]
        edges = [
            ((low - u[0]) / u[1], (high - u[0]) / u[1])
            for (low, high), u in zip(limits, units, strict=True)
        ]
        for i in range(n):
            for j in range(n):
                if j > i:
                    _correlations(
                        figure, grid[i, j].get_position(figure), [float(r[i, j]) for r in rho]
                    )
                    continue
                axes = figure.add_subplot(grid[i, j])
                _cell(axes, i, j, values=scaled, edges=edges)
                if i == n - 1:
                    _name(axes.set_xlabel, names[j], units[j][2])
                    axes.xaxis.set_label_coords(0.5, -0.2)
                if j == 0:
                    _name(axes.set_ylabel, names[i], units[i][2])
                    axes.yaxis.set_label_coords(-0.3, 0.5)
        return png(figure)


def two_groups(filled: Floats, line: Floats | None, labels: tuple[str, str], *, axis: str) -> str:
    """The same quantity of two groups (N,), (M,) on common bins: one as a filled histogram, the
    other as a line.
    """
    groups = [g[np.isfinite(g)] for g in (filled, line) if g is not None]
    edges, _ = bin_edges(np.concatenate(groups))
    with canvas(8.0, 2.9) as figure:
        axes = figure.subplots()
        heights = [np.histogram(g, edges)[0] / max(1, len(g)) / np.diff(edges) for g in groups]
        axes.stairs(heights[0], edges, fill=True, color=DATA, alpha=0.45, label=labels[0])
        if len(groups) > 1:
            axes.stairs(heights[1], edges, color=SAMPLES, linewidth=1.5, label=labels[1])
        axes.set_xlabel(axis, parse_math=False)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.legend(
            frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderaxespad=0.1
        )
        return svg(figure)


def against_normal(z: Floats) -> str:
    """Latents z (N,) as a small filled histogram, N(0, 1) as a line."""
    with canvas(2.8, 1.75, placed=True) as figure:
        axes = figure.add_axes((0.08, 0.16, 0.84, 0.82))
        _normal(axes, z)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        return svg(figure)


def latent(z: Floats) -> str:
    """All latents z (N,) pooled: histogram against N(0, 1), and quantiles against normal
    quantiles.
    """
    from scipy.special import ndtri

    with canvas(8.0, 3.3) as figure:
        left, right = figure.subplots(1, 2)
        _normal(left, z)
        left.set_xlabel("z")
        left.set_ylabel("density")
        left.legend(frameon=False, loc="upper right", ncols=1)
        count = min(400, len(z))
        levels = (np.arange(count) + 0.5) / max(1, count)
        expected = ndtri(levels)
        observed = np.quantile(z, levels) if count else levels
        bound = 1.1 * float(np.abs(expected).max(initial=1.0))
        right.plot([-bound, bound], [-bound, bound], color=SAMPLES, linewidth=1.2)
        right.plot(expected, observed, ".", color=DATA, markersize=4)
        right.set_xlabel("quantile of N(0, 1)")
        right.set_ylabel("quantile of the latents")
        right.grid(alpha=0.25)
        return svg(figure)


def _normal(axes: Any, z: Floats) -> None:
    edges = np.linspace(-5, 5, 61)
    grid = np.linspace(-5, 5, 201)
    heights = np.histogram(z, edges)[0] / max(1, len(z)) / np.diff(edges)
    axes.stairs(heights, edges, fill=True, color=DATA, alpha=0.45, label="latents of the data")
    axes.plot(
        grid,
        np.exp(-0.5 * grid**2) / math.sqrt(2 * math.pi),
        color=SAMPLES,
        linewidth=1.5,
        label="N(0, 1)",
    )
    axes.set_ylim(0, 1.3 * max(0.4, float(heights.max())))


def _curve(history: Sequence[dict[str, Any]], key: str, scale: float) -> tuple[Floats, Floats]:
    pairs = [
        (h["step"], h[key])
        for h in history
        if isinstance(h.get(key), (int, float)) and math.isfinite(h[key])
    ]
    return np.array([p[0] for p in pairs], float), scale * np.array([p[1] for p in pairs], float)


def _band(axes: Any, history: Sequence[dict[str, Any]], scale: float) -> None:
    steps, values = _curve(history, "valid", scale)
    at, errors = _curve(history, "valid_se", scale)
    if len(steps) > 1 and len(at) == len(steps):
        axes.fill_between(
            steps, values - errors, values + errors, color=SAMPLES, alpha=0.15, linewidth=0
        )


def _calm(axes: Any, curves: list[Floats]) -> None:
    """Let the first steps run off the top when they would flatten all that comes after."""
    values = np.concatenate(curves)
    low = float(values.min())
    high = float(values.max())
    settled = max(float(np.quantile(c[len(c) // 5 :], 0.95)) for c in curves)
    top = settled + 0.6 * (settled - low)
    if high > top + (settled - low) and top > low:
        axes.set_ylim(low - 0.08 * (top - low), top)


def _units(low: float, high: float) -> tuple[float, float, str]:
    """Offset and power of ten that give short ticks, and the words for them: values are offset +
    factor × tick.
    """
    size = max(abs(low), abs(high))
    offset = 0.0
    words = ""
    if 0 < high - low < 1e-3 * size:
        offset = low
        size = high - low
        words = f"{offset:.10g} + " + ("…" if 1e-3 <= size < 1e5 else "")
    if size == 0 or not math.isfinite(size) or 1e-3 <= size < 1e5:
        return offset, 1.0, words
    power = math.floor(math.log10(size))
    return offset, 10.0**power, f"{words}× 1e{power}"


def _ticks(axes: Any, log: bool) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, ScalarFormatter

    if log:
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
        return
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))


def _correlations(figure: Any, box: Any, values: list[float]) -> None:
    x = (box.x0 + box.x1) / 2
    alone = len(values) == 1
    for share, label, value, colour in zip(
        (0.5 if alone else 0.62, 0.38), ("data", "samples"), values, (DATA, SAMPLES), strict=False
    ):
        y = box.y0 + share * (box.y1 - box.y0)
        text = f"{value:+.2f}" if alone else f"{label} {value:+.2f}"
        figure.text(x, y, text, color=colour, ha="center", va="center", fontsize=10.5)


def _cell(
    axes: Any, i: int, j: int, *, values: list[Floats], edges: list[tuple[float, float]]
) -> None:
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    n = len(edges)
    axes.set_xlim(*edges[j])
    if i == j:
        bins = _bins(*edges[i], values[0][:, i])
        axes.hist(values[0][:, i], bins, density=True, color=DATA, alpha=0.45)
        for other in values[1:]:
            axes.hist(
                other[:, i], bins, density=True, color=SAMPLES, histtype="step", linewidth=1.4
            )
        axes.set_yticks([])
    else:
        points, shades = _mixed(values)
        axes.scatter(
            points[:, j],
            points[:, i],
            s=6,
            c=shades,
            alpha=0.5 if len(values) > 1 else 0.3,
            linewidths=0,
        )
        axes.set_ylim(*edges[i])
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    axes.tick_params(labelbottom=i == n - 1, labelleft=j == 0 and i != j, labelsize=8.5)


def _mixed(values: list[Floats]) -> tuple[Floats, list[str]]:
    """As many points of data as of samples, in an order that lets neither hide the other."""
    count = min(len(v) for v in values)
    order = np.random.default_rng(0).permutation(len(values) * count)
    colours = [DATA if k < count else SAMPLES for k in order]
    return np.concatenate([v[:count] for v in values])[order], colours


def _bins(low: float, high: float, values: Floats) -> Floats:
    if high - low < 60 and (values == np.floor(values)).all():
        return np.arange(math.floor(low) - 0.5, math.ceil(high) + 1)
    return np.linspace(low, high, 25)


def _name(write: Any, name: str, units: str) -> None:
    short = name if len(name) <= 20 else f"{name[:19]}…"
    write(f"{short}\n{units}" if units else short, fontsize=9.5, parse_math=False)
