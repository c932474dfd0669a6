"""How exactly do the models invert? Worst-row round trip and log-det error, as a Markdown table.

    python benchmarks/roundtrip.py  # 100,000 points, five data sets: about 15 minutes on one core
    python benchmarks/roundtrip.py --points 2000 --steps 50

Per model and data set, in the states

* `init`: as built, after `initialize`;
* `random × 2`: every head drawn like an ordinary linear layer, then all weights doubled;
* `trained`: by `diffeo.fit` for `--steps` steps, everything else left to it;
* `trained × 2`: the same with all weights doubled.

The columns by place are max |x − decode(encode(x))| over rows and entries, in standardised units,
on data, data with jitter, a normal cloud of 3 σ, uniform points to ±10 σ, and points with entries
on the exact knots of the first spline or the edges of its box. `log-dets opposite` is max |sum of
the two directions' log-dets|; the last column compares float32 log-dets with those of the same
weights in float64.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

import diffeo
from diffeo.training import recommend

MODELS = ("realnvp", "nsf")
BOUND = 5.0
CHUNK = 4_000
PLACES = ("data", "data + 0.05 σ", "3 σ cloud", "±10 σ", "knots")


@dataclass(frozen=True)
class Errors:
    """Worst row of each kind of error."""

    round_trip: float = 0.0
    relative: float = 0.0
    logdet: float = 0.0
    against_float64: float = 0.0

    def worst(self, other: Errors) -> Errors:
        """Entry by entry the larger of the two; a NaN stays."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Errors(*(a if a != a or a > b else b for a, b in pairs))


# --- data: five sets, standardised ----------------------------------------------------------------


def data_sets() -> dict[str, Tensor]:
    """Five tables of different width, size and shape of density, standardised, float32."""
    from sklearn import datasets

    generator = torch.Generator().manual_seed(0)
    moons = torch.from_numpy(datasets.make_moons(4000, noise=0.05, random_state=0)[0])
    tables = {
        "moons": moons,
        "diabetes": torch.from_numpy(datasets.load_diabetes().data),
        "wine": torch.from_numpy(datasets.load_wine().data),
        "breast cancer": torch.from_numpy(datasets.load_breast_cancer().data),
        "heavy tails": _heavy_tails(generator),
    }
    return {name: _standardised(x) for name, x in tables.items()}


def _heavy_tails(generator: torch.Generator) -> Tensor:
    """Six columns: a common scale of log-normal size times correlated normals."""
    mix = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    noise = torch.randn(4000, 6, generator=generator, dtype=torch.float64)
    return (noise * torch.randn(4000, 1, generator=generator, dtype=torch.float64).exp()) @ mix


def _standardised(x: Tensor) -> Tensor:
    x = x.double()
    return ((x - x.mean(0)) / x.std(0)).float()


# --- nets -----------------------------------------------------------------------------------------


def states(model: str, x: Tensor, steps: int) -> Iterator[tuple[str, diffeo.Flow]]:
    """The flow in each of the four states, in evaluation mode."""
    build: Callable[..., diffeo.Flow] = diffeo.models.MODELS[model]
    start = (
        build(event_shape=x.shape[1:], **recommend(*x.shape).model_args(model)).initialize(x).eval()
    )
    yield "init", start
    yield "random × 2", doubled(randomised(start))
    trained = train(copy.deepcopy(start), x, steps)
    yield "trained", trained
    yield "trained × 2", doubled(trained)


@torch.no_grad()
def randomised(flow: diffeo.Flow, seed: int = 0) -> diffeo.Flow:
    """A copy whose linear layers are all drawn uniformly within 1/√fan-in, the heads too."""
    flow, generator = copy.deepcopy(flow), torch.Generator().manual_seed(seed)
    for layer in flow.modules():
        if isinstance(layer, nn.Linear):
            reach = max(layer.in_features, 1) ** -0.5
            for parameter in layer.parameters():
                parameter.uniform_(-reach, reach, generator=generator)
    return flow


@torch.no_grad()
def doubled(flow: diffeo.Flow) -> diffeo.Flow:
    """A copy with every parameter times 2."""
    flow = copy.deepcopy(flow)
    for parameter in flow.parameters():
        parameter.mul_(2)
    return flow


def train(flow: diffeo.Flow, x: Tensor, steps: int) -> diffeo.Flow:
    """As a user would, with everything but the number of steps left to diffeo."""
    return diffeo.fit(flow, x, steps=steps).flow.eval()


# --- points ---------------------------------------------------------------------------------------


@torch.no_grad()
def points(flow: diffeo.Flow, x: Tensor, n: int, seed: int = 2) -> Tensor:
    """Data with jitter, a wide normal cloud, uniform to ±10 σ, box edges and their neighbours,
    exact knots; float32.
    """
    generator = torch.Generator().manual_seed(seed)
    size, each = x.shape[1], -(-n // 5)

    def normal() -> Tensor:
        return torch.randn(each, size, generator=generator)

    data = x[torch.randint(len(x), (each,), generator=generator)]
    wide = (torch.rand(each, size, generator=generator) * 2 - 1) * 10
    all_points = [data, data + 0.05 * normal(), 3 * normal(), wide, on_knots(flow, data, generator)]
    return torch.cat(all_points)[:n].clamp(-10, 10)


def on_knots(flow: diffeo.Flow, x: Tensor, generator: torch.Generator) -> Tensor:
    """x with the entries that the first spline transforms moved onto its knots, its box's edges or
    their neighbours.
    """
    first = next(t for t in flow.transform if isinstance(t, diffeo.layers.Coupling))
    a, b = first.partition.split(x)
    edges = torch.tensor([-BOUND, BOUND])
    edges = torch.cat([edges, edges.nextafter(torch.zeros(2)), edges.nextafter(2 * edges)])
    knots = edges.expand(*b.shape, -1)
    if isinstance(first.map, diffeo.maps.RQSpline):
        params = first.conditioner(a, None).flatten(0, 1)
        shape = first.map._shape
        share = params[:, : shape.bins].softmax(-1)
        width = shape.high - shape.low
        sizes = share * (width * (1 - shape.min_bin)) + width * shape.min_bin / shape.bins
        knots = torch.cat([knots, (sizes.cumsum(-1) + shape.low).unflatten(0, b.shape)], -1)
    pick = torch.randint(knots.shape[-1], (*b.shape, 1), generator=generator)
    return first.partition.merge(a, knots.gather(-1, pick)[..., 0])


# --- errors ---------------------------------------------------------------------------------------


@torch.no_grad()
def errors(flow: diffeo.Flow, x: Tensor, dtype: torch.dtype) -> Errors:
    """Worst errors of `flow` computing in `dtype` over the rows of x."""
    small, large = copy.deepcopy(flow).to(dtype), copy.deepcopy(flow).double()
    worst = Errors()
    for rows in x.to(dtype).split(CHUNK):
        worst = worst.worst(_chunk_errors(small, large, rows))
    return worst


def _chunk_errors(small: diffeo.Flow, large: diffeo.Flow, x: Tensor) -> Errors:
    z, there = small.encode(x)
    again, back = small.decode(z)
    off = (again - x).abs()
    against = (
        (there.double() - large.encode(x.double())[1]).abs().max().item()
        if x.dtype == torch.float32
        else 0.0
    )
    relative = (off / x.abs().clamp_min(1)).max().item()
    return Errors(off.max().item(), relative, (there + back).abs().max().item(), against)


# --- the table ------------------------------------------------------------------------------------


def measure(models: tuple[str, ...], n: int, steps: int) -> Iterator[tuple[str, ...]]:
    """Rows of the table: model, state, data set, dtype, worst round trip by place, worst
    log-dets.
    """
    for model in models:
        for name, x in data_sets().items():
            for state, flow in states(model, x, steps):
                at = points(flow, x, n).chunk(len(PLACES))
                for dtype in (torch.float32, torch.float64):
                    by_place = [errors(flow, rows, dtype) for rows in at]
                    trips = [f"{found.round_trip:.1e}" for found in by_place]
                    yield (
                        model,
                        state,
                        name,
                        str(dtype).removeprefix("torch."),
                        *trips,
                        *_logdets(by_place, dtype),
                    )


def _logdets(found: list[Errors], dtype: torch.dtype) -> tuple[str, str]:
    against = max(e.against_float64 for e in found)
    return f"{max(e.logdet for e in found):.1e}", f"{against:.1e}" if dtype == torch.float32 else ""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=400, help="training steps")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=MODELS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    print(
        f"| model | state | data | dtype | {' | '.join(PLACES)} | log-dets opposite | log-det"
        " against float64 |"
    )
    print("|---|---|---|---|" + "---|" * (len(PLACES) + 2), flush=True)
    for row in measure(tuple(args.models), args.points, args.steps):
        print(f"| {' | '.join(row)} |", flush=True)
    print(
        f"\n{args.points:,} points, {args.steps} training steps, {time.perf_counter() - start:.0f}"
        " s on one thread"
    )


if __name__ == "__main__":
    main()
