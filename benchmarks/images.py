"""Six coupling families on Fashion-MNIST at one budget: test bits per dimension, speed, round trip.

    # steps per second of every model, on a quiet machine; do this first
    python benchmarks/images.py rates
    # one row: train, evaluate, sample; also nice, realnvp, nsf, flowpp, jet
    python benchmarks/images.py glow
    python benchmarks/images.py table  # the rows that are there, as Markdown

The budget is what ten minutes on all cores allow: the number of steps comes from `rates`, so that
it does not depend on what else the machine does while a row is made. Data: Debian's package
dataset-fashion-mnist. Settings: recipes/*.toml.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import diffeo

HERE = Path(__file__).parent
DATA = Path("/usr/share/datasets/fashion-mnist")
TRAIN, TEST = DATA / "train-images-idx3-ubyte.gz", DATA / "t10k-images-idx3-ubyte.gz"
MODELS = ("nice", "realnvp", "glow", "nsf", "flowpp", "jet")
MINUTES = 10
# draws of the noise for the tighter bound, and of how many test images
IMPORTANCE, SUBSET = 8, 2_000
TIMED = 12  # steps or calls that a rate is the median of


def recipe(name: str) -> dict[str, Any]:
    """The settings of a row."""
    return tomllib.loads((HERE / "recipes" / f"fashion-{name}.toml").read_text())


def seconds(call: Callable[[], Any], times: int = TIMED) -> float:
    """Median time of a call, the first two left out."""
    taken = []
    for _ in range(times + 2):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[2:])


def rate(name: str) -> dict[str, float]:
    """Seconds per training step and images per second, in training and in sampling."""
    settings = recipe(name)
    size = settings["batch_size"]
    x = torch.from_numpy(diffeo.read_images(TEST).pixels[:size].copy())
    flow = diffeo.models.MODELS[name]((1, 28, 28), **settings["model_args"])
    flow.initialize(x)
    objective = diffeo.training.NegativeLogLikelihood(
        flow, precision=settings.get("precision", "float32")
    ).train()
    optimizer = torch.optim.AdamW(flow.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        objective(x).mean().backward()
        optimizer.step()

    of_step = seconds(step)
    of_sample = seconds(lambda: flow.eval().sample((64,)), 3)
    return {"step": of_step, "train": size / of_step, "sample": 64 / of_sample}


def rates(out: Path) -> None:
    """Measure every model and note it."""
    found = {}
    for name in MODELS:
        found[name] = rate(name)
        print(name, {k: round(v, 3) for k, v in found[name].items()}, flush=True)
    out.mkdir(parents=True, exist_ok=True)
    note = {"threads": torch.get_num_threads(), "rates": found}
    (out / "rates.json").write_text(json.dumps(note, indent=1))


def row(name: str, out: Path, threads: int | None) -> None:
    """Train for the budget, evaluate on the 10,000 test images, draw samples."""
    speed = json.loads((out / "rates.json").read_text())["rates"][name]
    steps = round(60 * MINUTES / speed["step"])
    model = out / name
    more = ["--threads", str(threads)] if threads else []
    config = ["--config", str(HERE / "recipes" / f"fashion-{name}.toml"), "--steps", str(steps)]
    fitted = command("fit", TRAIN, "--out", model, *config, *more)
    tested = command("evaluate", model, TEST, *more)
    flow, x = diffeo.load(model), torch.from_numpy(diffeo.read_images(TEST).pixels[:SUBSET].copy())
    torch.set_num_threads(threads or torch.get_num_threads())
    sharper = diffeo.training.evaluate(flow, x, importance=IMPORTANCE)
    plain = diffeo.training.evaluate(flow, x)
    checkup = diffeo.check(flow, x[:300])
    for temperature in (1.0, 0.7):
        picture = model / f"samples-{temperature}.png"
        command("sample", model, "-n", 64, "--temperature", temperature, "-o", picture, *more)
    line = {
        "model": name,
        "parameters": fitted["parameters"],
        "steps": steps,
        "images": steps * recipe(name)["batch_size"],
        "bits_per_dim": tested["bits_per_dim"],
        "bits_per_dim_se": tested["bits_per_dim_se"],
        "gain_by_importance": plain.bits_per_dim - sharper.bits_per_dim,
        "train_rate": speed["train"],
        "sample_rate": speed["sample"],
        "round_trip": checkup.round_trip_max,
        "pixels_back": checkup.pixels_back,
    }
    (out / f"{name}.json").write_text(json.dumps(line, indent=1))
    print(json.dumps(line))


def command(*words: object) -> dict[str, Any]:
    """A `diffeo` command with its answer."""
    done = subprocess.run(
        [sys.executable, "-m", "diffeo", *map(str, words), "--json"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def table(out: Path) -> None:
    """The rows that there are."""
    heads = (
        "model",
        "parameters",
        "images seen",
        "test bits/dim",
        f"{IMPORTANCE} draws",
        "train img/s",
        "sample img/s",
    )
    print("|", " | ".join((*heads, "round trip, sd", "pixels back")), "|")
    print("|---" * (len(heads) + 2) + "|")
    for name in MODELS:
        if (out / f"{name}.json").exists():
            r = json.loads((out / f"{name}.json").read_text())
            cells = [
                name,
                f"{r['parameters']:,}",
                f"{r['images']:,}",
                f"{r['bits_per_dim']:.3f} ± {r['bits_per_dim_se']:.3f}",
            ]
            cells += [
                f"−{r['gain_by_importance']:.3f}",
                f"{r['train_rate']:.0f}",
                f"{r['sample_rate']:.0f}",
            ]
            print(
                "|", " | ".join([*cells, f"{r['round_trip']:.1e}", f"{r['pixels_back']:.4%}"]), "|"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("rates", "table", *MODELS))
    parser.add_argument("--out", type=Path, default=Path("runs/fashion"))
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    if args.what == "rates":
        rates(args.out)
    elif args.what == "table":
        table(args.out)
    else:
        row(args.what, args.out, args.threads)


if __name__ == "__main__":
    main()
