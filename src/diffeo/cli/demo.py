"""`diffeo demo`: the main job on data that ships with a dependency."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import ConfigError
from .models import open_flow
from .options import Json, Seed, Threads, use_threads
from .output import emit, say
from .requests import Draws
from .signals import saves_on_signals
from .verbs import verbs_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["demo"]


def demo(
    name: Annotated[
        str, typer.Argument(help="photos, breast_cancer, wine, diabetes, or digits (images).")
    ] = "photos",
    *,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for table, model and samples.")
    ] = Path("demo"),
    minutes: Annotated[
        float | None,
        typer.Option(help="Maximum training time in minutes.", min=0.01, show_default=False),
    ] = None,
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Fit a flow to real data, compare it with simple baselines, sample, write the report."""
    from .config import RunConfig
    from .run import read_job, run_job

    use_threads(threads)
    steps = None if minutes else STEPS.get(name)
    if name == "digits":
        data = DIGITS
        config = RunConfig(
            seed=seed,
            minutes=minutes,
            steps=steps,
            context=["label"],
            model_args={"size": "tiny"},
        )
    else:
        data = _write_table(name, out)
        config = RunConfig(seed=seed, minutes=minutes, steps=steps)
    more = " --context label --size tiny" if name == "digits" else ""
    say(f"$ diffeo fit {data} --out {out / 'model'}{more}{f' --steps {steps}' if steps else ''}")
    job = read_job(data, out / "model", config, resume=False, quiet=False)
    with saves_on_signals():
        summary, lines = run_job(job, out / "model", config, resume=False, quiet=False)
    drawn = _samples(name, out, seed)
    summary |= {"samples": str(drawn), "data": data}
    emit(summary, json, [*lines, f"samples  {drawn}"])


STEPS = {"photos": 1500, "digits": 2000}  # a few minutes on two cores
DIGITS = "sklearn:digits"


def _write_table(name: str, out: Path) -> str:
    from ..data import write_table

    columns, rows = _table(name)
    out.mkdir(parents=True, exist_ok=True)
    table = out / f"{name}.csv"
    write_table(table, columns, rows)
    say(f"wrote {table}: {len(rows):,} rows x {len(columns)} columns")
    return str(table)


def _samples(name: str, out: Path, seed: int) -> Path:
    """As many rows as were trained on, or a hundred digits."""
    model = out / "model"
    flow = open_flow(model)
    if name == "digits":
        draws = Draws(folder=model, out=out / "samples.png", n=100, seed=seed, temperature=0.8)
    else:
        training = flow.card.training
        assert training is not None
        draws = Draws(
            folder=model, out=out / "samples.csv", n=sum(training.rows.values()), seed=seed
        )
    verbs_of(flow).draw(flow, draws)
    return draws.out


def _table(name: str) -> tuple[list[str], NDArray[np.float64]]:
    if name == "photos":
        return _photos()
    import sklearn.datasets

    loaders = {
        n: getattr(sklearn.datasets, f"load_{n}") for n in ("breast_cancer", "wine", "diabetes")
    }
    if name not in loaders:
        raise ConfigError(f"no demo called {name!r}: choose photos, digits, {', '.join(loaders)}")
    data = loaders[name]()
    return [str(c).replace(" ", "_") for c in data.feature_names], data.data


def _photos() -> tuple[list[str], NDArray[np.float64]]:
    """Pixels of one of scikit-learn's photographs: position and colour, a density in five
    dimensions that one can see.
    """
    import numpy as np
    from sklearn.datasets import load_sample_image

    rng = np.random.default_rng(0)
    image = load_sample_image("flower.jpg")
    rows = rng.integers(image.shape[0], size=20_000)
    columns = rng.integers(image.shape[1], size=20_000)
    where = np.stack([columns, image.shape[0] - 1 - rows], 1) + rng.random((20_000, 2))
    return ["x", "y", "red", "green", "blue"], np.hstack(
        [where, image[rows, columns] + rng.random((20_000, 3))]
    )
