"""Held-out NLL on four real tables: Gaussian, KDE, realnvp, nsf, and zuko's NSF coupling on the
same splits and steps.

    python benchmarks/nll.py [--tables wine diabetes] [--seeds 0 1 2]

nats per row in the data's own units, mean over the seeds' test rows, standard error within a split
averaged. `nsf` and `realnvp` have zuko's layout, steps and learning rate; `default` is what a user
who passes nothing gets.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

import numpy as np
import torch
from peers import python
from tables import LAYOUT, TABLES, split

import diffeo
from diffeo.report import baselines
from diffeo.training import evaluate, recommend

HERE = Path(__file__).parent


def ours(name: str, seed: int, model: str) -> dict[str, float]:
    """The layout that zuko gets."""
    train, valid, test = split(name, seed)
    plan = LAYOUT[name]
    flow = getattr(diffeo.models, model)(
        (train.shape[1],),
        layers=plan["layers"],
        hidden=(plan["hidden"],) * 2,
        split="random",
        seed=seed,
    )
    settings = {
        "steps": plan["steps"],
        "batch_size": plan["batch"],
        "lr": 1e-3,
        "weight_decay": 1e-4,
        "seed": seed,
    }
    diffeo.fit(flow, train, valid=valid, **settings)
    return scored(flow, test)


def default(name: str, seed: int, model: str = "nsf") -> dict[str, float]:
    """Nothing passed: size, dropout, mixing, steps and patience by `recommend`."""
    train, valid, test = split(name, seed)
    args = recommend(*train.shape).model_args(model)
    flow = getattr(diffeo.models, model)((train.shape[1],), seed=seed, **args)
    diffeo.fit(flow, train, valid=valid, seed=seed)
    return scored(flow, test)


def scored(flow: diffeo.Flow, test: np.ndarray) -> dict[str, float]:
    result = evaluate(flow, torch.from_numpy(test))
    return {"nll": result.nll, "se": result.nll_se}


def zuko(name: str, seed: int, *flags: str) -> dict[str, float]:
    command = [str(python("zuko")), str(HERE / "nll_zuko.py"), name, str(seed), *flags]
    return json.loads(
        subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=HERE).stdout
    )


def plain(name: str, seed: int) -> dict[str, dict[str, float]]:
    train, _, test = split(name, seed)
    return {key: {"nll": v["nll"], "se": v["nll_se"]} for key, v in baselines(train, test).items()}


def contender(column: str, name: str, seed: int) -> dict[str, float]:
    if column.startswith("zuko"):
        return zuko(name, seed, *(["--ema"] if column == "zuko-ema" else []))
    return default(name, seed) if column == "default" else ours(name, seed, column)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", nargs="+", default=TABLES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--columns",
        nargs="+",
        default=["gaussian", "kde", "realnvp", "nsf", "zuko", "zuko-ema", "default"],
    )
    args = parser.parse_args()
    print(
        "| table | " + " | ".join(args.columns) + " |\n|---|" + "---|" * len(args.columns),
        flush=True,
    )
    for name in args.tables:
        found: dict[str, list[dict[str, float]]] = {column: [] for column in args.columns}
        for seed in args.seeds:
            simple = plain(name, seed)
            for column, results in found.items():
                results.append(simple.get(column) or contender(column, name, seed))
        cells = [
            f"{np.mean([r['nll'] for r in rs]):.2f} ± {np.mean([r['se'] for r in rs]):.2f}"
            for rs in found.values()
        ]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
