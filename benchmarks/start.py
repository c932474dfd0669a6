"""Test NLL by what is taken out of the columns before the couplings, at equal steps: what
`layers.Regress` is worth.

    python benchmarks/start.py [--tables sums wine] [--seeds 0 1] [--steps 400] [--shares 0 0.05 1]

A column is taken out if the others, or the context, leave at most the given share of its variance:
0 takes none, 1 all, which is to whiten; `default` is what `fit` chooses. Model and settings are
those recommended, but for the steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import tables
from numpy.typing import NDArray

import diffeo
from diffeo.report import baselines
from diffeo.training import evaluate, recommend

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator], tuple[Floats, int]]


def sums(rng: np.random.Generator) -> tuple[Floats, int]:
    """Four parts of a hundred, written with two decimals."""
    return np.round(100 * rng.dirichlet((8, 4, 2, 2), 3_000), 2), 0


def narrow(rng: np.random.Generator) -> tuple[Floats, int]:
    """θ ~ N(0, 10² I) given x = θ + 0.1 noise: the posterior is a hundredth as wide as the
    prior.
    """
    theta = 10 * rng.normal(size=(20_000, 3))
    return np.hstack((theta, theta + 0.1 * rng.normal(size=theta.shape))), 3


def bent(rng: np.random.Generator) -> tuple[Floats, int]:
    """θ given a context that is a curved function of it, and two columns of which one is nearly the
    other.
    """
    theta = rng.normal(size=(5_000, 1))
    other = theta + theta**2 + 0.1 * rng.normal(size=theta.shape)
    x = np.sinh(theta) + 0.02 * rng.normal(size=theta.shape)
    return np.hstack((theta, other, x)), 1


def magic(_: np.random.Generator) -> tuple[Floats, int]:
    """The ten numbers of the MAGIC telescope, from a file beside this one if there is one."""
    rows = np.genfromtxt("magic.csv.gz", delimiter=",", skip_header=1, usecols=range(10))
    return rows, 0


MADE: dict[str, Draw] = {"sums": sums, "narrow": narrow, "bent": bent, "magic": magic}


def split(name: str, seed: int) -> tuple[Floats, Floats, Floats, int]:
    """Training, validation and test rows, 80, 10 and 10 per cent, and how many of the last columns
    are contexts.
    """
    if name in tables.TABLES:
        return *tables.split(name, seed), 0
    rng = np.random.default_rng(100 + seed)
    rows, given = MADE[name](rng)
    parts = np.array_split(rows[rng.permutation(len(rows))], 10)
    return np.concatenate(parts[2:]), parts[1], parts[0], given


def cut(rows: Floats, given: int) -> tuple[Floats, Floats | None]:
    """Columns and contexts."""
    return (rows[:, :-given], rows[:, -given:]) if given else (rows, None)


def trained(name: str, seed: int, steps: int, share: float | None, model: str) -> tuple[float, int]:
    """Test NLL, and how many columns were taken out."""
    train, valid, test, given = split(name, seed)
    (x, context), (held, held_context), (asked, asked_context) = (
        cut(part, given) for part in (train, valid, test)
    )
    size = x.shape[1]
    args = recommend(len(x), size, given).model_args(model) | {
        "supports": ["real"] * size,
        "regress": share,
    }
    flow = diffeo.models.MODELS[model]((size,), (given,) if given else None, seed=seed, **args)
    given_too = held if held_context is None else (held, held_context)
    diffeo.fit(flow, x, context, valid=given_too, steps=steps, seed=seed)
    taken = next(
        (
            int(link.taken.sum())
            for link in flow.transform
            if isinstance(link, diffeo.layers.Regress)
        ),
        0,
    )
    as_tensor = diffeo.training.arrays.as_tensor
    nll = evaluate(
        flow, as_tensor(asked), None if asked_context is None else as_tensor(asked_context)
    ).nll
    return nll, taken


def gaussian(name: str, seed: int) -> float:
    """Test NLL of the full-covariance Gaussian, given the context."""
    train, _, test, given = split(name, seed)
    (x, context), (asked, asked_context) = cut(train, given), cut(test, given)
    pair = None if context is None or asked_context is None else (context, asked_context)
    return float(baselines(x, asked, context=pair)["gaussian"]["nll"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--tables",
        nargs="+",
        default=["sums", "narrow", "bent", "wine", "breast_cancer", "diabetes"],
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--shares", nargs="+", type=float, default=[0, 0.05, 1])
    parser.add_argument("--model", default="nsf")
    args = parser.parse_args()
    wanted: dict[str, float | None] = {"default": None} | {
        f"{share:g}": share for share in args.shares
    }
    print(
        "| table | Gaussian | " + " | ".join(wanted) + " |\n|---|---|" + "---|" * len(wanted),
        flush=True,
    )
    for name in args.tables:
        cells = [f"{np.mean([gaussian(name, seed) for seed in args.seeds]):.2f}"]
        for share in wanted.values():
            found = [trained(name, seed, args.steps, share, args.model) for seed in args.seeds]
            cells.append(
                f"{np.mean([nll for nll, _ in found]):.2f}"
                f" ({', '.join(str(taken) for _, taken in found)})"
            )
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
