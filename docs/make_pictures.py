"""The README's picture: `make demo` first, then `python docs/make_pictures.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from diffeo.data import read_table

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent / "demo"


def main() -> None:
    figure = Figure(figsize=(12, 4.9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    titles = {
        "photos.csv": "20,000 pixels of a photograph",
        "samples.csv": "20,000 samples of the flow",
    }
    for axes, (name, title) in zip(
        figure.subplots(1, 2, sharex=True, sharey=True), titles.items(), strict=True
    ):
        rows = read_table(
            DEMO / name, columns=dict.fromkeys(("x", "y", "red", "green", "blue"), "real")
        ).values
        axes.scatter(rows[:, 0], rows[:, 1], c=np.clip(rows[:, 2:] / 256, 0, 1), s=5, linewidths=0)
        axes.set(title=title, xlabel="x", ylabel="y", aspect="equal", xlim=(0, 640), ylim=(0, 427))
    (HERE / "images").mkdir(exist_ok=True)
    figure.savefig(HERE / "images" / "photos.png")


if __name__ == "__main__":
    main()
