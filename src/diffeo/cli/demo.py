"""`diffeo demo`: the main job on data that ships with a dependency."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import ConfigError
from .common import Json, Threads, emit, open_model, say, use_threads

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["demo"]


def demo(
    name: Annotated[str, typer.Argument(help="photos, breast_cancer, wine or diabetes.")] = "photos",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for table, model and samples.")] = Path("demo"),
    minutes: Annotated[float | None, typer.Option(help="Train so long.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Fit a flow to real data, compare it with a Gaussian and a kernel density estimate, sample, write the report."""
    from ..data import write_table
    from .config import RunConfig
    from .fit import run_fit
    from .sample import draw_to

    use_threads(threads)
    columns, rows = _table(name)
    out.mkdir(parents=True, exist_ok=True)
    table = out / f"{name}.csv"
    write_table(table, columns, rows)
    say(f"wrote {table}: {len(rows):,} rows x {len(columns)} columns", f"$ diffeo fit {table} --out {out / 'model'}")
    config = RunConfig(seed=seed, minutes=minutes, steps=None if minutes else STEPS.get(name))
    summary, lines, signum = run_fit(table, out / "model", config, resume=False, quiet=False)
    if signum is not None:
        raise typer.Exit(128 + signum)
    drawn = out / "samples.csv"
    draw_to(drawn, *open_model(out / "model"), len(rows), seed)
    summary |= {"samples": str(drawn), "data": str(table)}
    emit(summary, json, [*lines, f"samples  {drawn}"])


STEPS = {"photos": 1500}  # a few minutes on two cores


def _table(name: str) -> tuple[list[str], NDArray[np.float64]]:
    if name == "photos":
        return _photos()
    import sklearn.datasets

    loaders = {n: getattr(sklearn.datasets, f"load_{n}") for n in ("breast_cancer", "wine", "diabetes")}
    if name not in loaders:
        raise ConfigError(f"no demo called {name!r}: choose photos, {', '.join(loaders)}")
    data = loaders[name]()
    return [str(c).replace(" ", "_") for c in data.feature_names], data.data


def _photos() -> tuple[list[str], NDArray[np.float64]]:
    """Pixels of one of scikit-learn's photographs: position and colour, a density in five dimensions that one can see."""
    import numpy as np
    from sklearn.datasets import load_sample_image

    rng = np.random.default_rng(0)
    image = load_sample_image("flower.jpg")
    rows = rng.integers(image.shape[0], size=20_000)
    columns = rng.integers(image.shape[1], size=20_000)
    where = np.stack([columns, image.shape[0] - 1 - rows], 1) + rng.random((20_000, 2))
    return ["x", "y", "red", "green", "blue"], np.hstack([where, image[rows, columns] + rng.random((20_000, 3))])
