"""Inference on targets with a known answer: one row a command, results in runs/inference/, a table
of them all.

    # also: ionosphere, funnel, gmm40, wells, gaussian500, improper, schools, ark, garch, kidiq
    python benchmarks/inference.py credit --seed 0
    python benchmarks/inference.py wells-plain  # reverse KL alone, which collapses; and gmm40-plain
    # the RealNVP of the tutorial; also phi4-20000, phi4-best
    python benchmarks/inference.py phi4-2500
    python benchmarks/inference.py path  # the gradient in one pass against two: equality and time
    python benchmarks/inference.py table            # what is there, as Markdown

Targets and what is known of them: targets.py. Data: ../shared/data.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import targets
import torch
from torch import Tensor

import diffeo
from diffeo.inference import Posterior, ReverseKL

OUT = Path(__file__).resolve().parents[1] / "runs" / "inference"
Row = Callable[[int], dict[str, Any]]


def run(known: targets.Known, seed: int, **settings: Any) -> tuple[Posterior, dict[str, Any]]:
    """`infer`, and the figures of the table."""
    start = time.monotonic()
    posterior = diffeo.infer(known.log_density, known.space, seed=seed, progress=True, **settings)
    d = posterior.diagnostics
    figures = {
        "effort": posterior.attempts[-1].name,
        "elbo": d.elbo,
        "log_z": d.log_z,
        "log_z_se": d.log_z_se,
        "error": None if known.log_z is None else d.log_z - known.log_z,
        "gap": (d.log_z if known.log_z is None else known.log_z) - d.elbo,
        "ess": d.ess,
        "k_hat": d.k_hat,
        "samples": d.samples,
        "snr": d.gradient_snr,
        "trusted": posterior.trusted,
        "warnings": posterior.warnings,
        "evaluations": posterior.counts["evaluations"],
        "minutes": (time.monotonic() - start) / 60,
        "threads": torch.get_num_threads(),
    }
    return posterior, figures


def credit(seed: int) -> dict[str, Any]:
    return run(targets.credit(), seed, model="realnvp", steps=1_000)[1]


def ionosphere(seed: int) -> dict[str, Any]:
    return run(
        targets.ionosphere(),
        seed,
        model="realnvp",
        layers=8,
        hidden=(128, 128),
        steps=8_000,
        lr=5e-3,
    )[1]


def funnel(seed: int) -> dict[str, Any]:
    posterior, figures = run(targets.funnel(), seed, samples=100_000, scale=3.0, steps=6_000)
    log_w = weights(posterior, targets.funnel(), 2_000, seed)
    return figures | {"error of 2,000": float(log_w.logsumexp(0) - math.log(2_000))}


def weights(posterior: Posterior, known: targets.Known, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(100 + seed)
    with torch.no_grad():
        x, log_q = posterior.flow.sample_and_log_prob((count,), generator=generator)
        return known.log_density(x).double() - log_q.double()


def gmm40(seed: int) -> dict[str, Any]:
    posterior, figures = run(targets.gmm40(), seed, scale=40.0)
    return figures | {"modes": modes(posterior, seed)}


def gmm40_fab(seed: int) -> dict[str, Any]:
    """Without looking for maxima: annealing and bootstrapping find the modes."""
    posterior, figures = run(targets.gmm40(), seed, scale=40.0, effort="fab", steps=4_000)
    return figures | {"modes": modes(posterior, seed)}


def gmm40_plain(seed: int) -> dict[str, Any]:
    posterior, figures = run(targets.gmm40(), seed, effort="flow", model=plain(2))
    return figures | {"modes": modes(posterior, seed)}


def modes(posterior: Posterior, seed: int) -> int:
    """How many of the 40 means have a draw of the flow itself within three standard deviations, of
    10,000.
    """
    with torch.no_grad():
        x = posterior.flow.sample((10_000,), generator=torch.Generator().manual_seed(seed))
    near = torch.cdist(x, targets.gmm40_means().to(x)) < 3 * 1.3133
    return int(near.any(0).sum())


def plain(size: int) -> diffeo.Flow:
    return diffeo.models.nsf(size, layers=6, hidden=(64, 64), mixing="lu")


def affine(size: int) -> diffeo.Flow:
    return diffeo.models.realnvp(size, layers=10, hidden=(64, 64), split="alternating")


def wells(seed: int) -> dict[str, Any]:
    posterior, figures = run(targets.many_well(), seed, scale=2.0, samples=50_000, steps=4_000)
    return figures | left_well(posterior)


def wells_plain(seed: int) -> dict[str, Any]:
    posterior, figures = run(
        targets.many_well(), seed, effort="flow", model=affine(32), samples=50_000
    )
    return figures | left_well(posterior)


def left_well(posterior: Posterior) -> dict[str, Any]:
    """The mass of x < 0 in each of the 16 wells, by weighted draws: its mean, and the largest
    difference from the truth.
    """
    share = posterior.log_weights.exp().double() @ (posterior.draws[:, 0::2] < 0).double()
    raw = (posterior.draws[:, 0::2] < 0).double().mean(0)
    return {
        "left": float(share.mean()),
        "left off": float((share - 0.155693).abs().max()),
        "left of the flow": float(raw.mean()),
    }


def gaussian500(seed: int) -> dict[str, Any]:
    return run(targets.gaussian500(), seed, model="realnvp", layers=4, steps=300)[1]


def gaussian500_blind(seed: int) -> dict[str, Any]:
    """Without Laplace's approximation, which is exact here: the flow has to find the covariance by
    itself.
    """
    flow = diffeo.models.realnvp(500, layers=4, hidden=(64,), mixing="lu", seed=seed)
    return run(targets.gaussian500(), seed, model=flow, effort="flow", steps=4_000, lr=5e-3)[1]


def improper(seed: int) -> dict[str, Any]:
    return run(targets.improper(), seed, steps=300)[1]


def posterior_row(short: str) -> Row:
    name, build, columns = targets.POSTERIORS[short]

    def row(seed: int) -> dict[str, Any]:
        posterior, figures = run(build(), seed, samples=40_000)
        value = posterior.space.constrain(posterior.draws.double())[0]
        assert isinstance(value, dict)
        w = posterior.log_weights.exp().double().numpy()
        means, spreads = {}, {}
        for column, x in targets.reference(name).items():
            mine = columns(value)[column].numpy()
            mean = float(w @ mine)
            means[column] = (mean - x.mean()) / x.std()
            spreads[column] = math.sqrt(float(w @ (mine - mean) ** 2)) / x.std() - 1
        worst = {
            "mean off": max(map(abs, means.values())),
            "sd off": max(map(abs, spreads.values())),
        }
        return figures | worst | {"means": means, "spreads": spreads}

    return row


# φ⁴


def phi4(steps: int) -> Row:
    """16 affine couplings between the colours, convolutions to (8, 8), as in the tutorial."""

    def row(seed: int) -> dict[str, Any]:
        flow = diffeo.models.lattice((1, 8, 8), layers=16, hidden=(8, 8), seed=seed)
        return field(flow, steps, seed, lr=1e-3)

    return row


def phi4_best(seed: int) -> dict[str, Any]:
    """Z2 symmetry, a spectrum, wider networks."""
    flow = diffeo.models.lattice(
        (1, 8, 8), layers=16, hidden=(16, 16), symmetric=True, spectrum=True, seed=seed
    )
    return field(flow, 20_000, seed, lr=3e-3)


def field(flow: diffeo.Flow, steps: int, seed: int, lr: float) -> dict[str, Any]:
    settings = {
        "effort": "flow",
        "model": flow,
        "steps": steps,
        "batch_size": 64,
        "samples": 65_536,
        "lr": lr,
    }
    return run(targets.phi4(), seed, **settings)[1] | {
        "parameters": sum(p.numel() for p in flow.parameters())
    }


# The gradient in one pass


def path(seed: int) -> dict[str, Any]:
    """Milliseconds per gradient, medians of interleaved rounds, for the flows that `infer`
    builds.
    """
    return {f"{name}-{size}": _path(name, size) for name in ("realnvp", "nsf") for size in (10, 64)}


def _path(name: str, size: int, batch: int = 256, rounds: int = 60) -> dict[str, float]:
    flow = diffeo.models.MODELS[name](size, layers=6, hidden=(64, 64), mixing="none")
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.1 * torch.randn_like(p))
    target = lambda x: -0.25 * x.square().sum(1)  # noqa: E731
    z = torch.randn(batch, size)
    single, two = _single(flow, target, z), _two(flow, target, z)
    gap = max(
        float((a - b).abs().max() / (1e-6 + b.abs().max()))
        for a, b in zip(single, two, strict=True)
    )
    times: dict[str, list[float]] = {"single": [], "two": [], "total": []}
    for _ in range(rounds):
        for kind, call in (("single", _single), ("two", _two), ("total", _total)):
            start = time.perf_counter()
            call(flow, target, z)
            times[kind].append(time.perf_counter() - start)
    ms = {kind: 1e3 * statistics.median(values[5:]) for kind, values in times.items()}
    return {"relative difference": gap, **ms, "ratio": ms["single"] / ms["two"]}


Gradient = tuple[Tensor, ...]


def _single(flow: diffeo.Flow, target: Callable[[Tensor], Tensor], z: Tensor) -> Gradient:
    return torch.autograd.grad(ReverseKL(flow, target).train()(z).mean(), list(flow.parameters()))


def _total(flow: diffeo.Flow, target: Callable[[Tensor], Tensor], z: Tensor) -> Gradient:
    return torch.autograd.grad(
        ReverseKL(flow, target, "total").train()(z).mean(), list(flow.parameters())
    )


def _two(flow: diffeo.Flow, target: Callable[[Tensor], Tensor], z: Tensor) -> Gradient:
    """Sample, then the score at fixed parameters from the density in the other direction."""
    x, _ = flow.decode(z)
    point = x.detach().requires_grad_()
    parameters = [p for p in flow.parameters() if p.requires_grad]
    for p in parameters:
        p.requires_grad_(False)
    (slope,) = torch.autograd.grad((flow.log_prob(point) - target(point)).sum(), point)
    for p in parameters:
        p.requires_grad_(True)
    return torch.autograd.grad((x * slope).sum() / len(z), parameters)


ROWS: dict[str, Row] = {
    "credit": credit,
    "ionosphere": ionosphere,
    "funnel": funnel,
    "gmm40": gmm40,
    "gmm40-fab": gmm40_fab,
    "gmm40-plain": gmm40_plain,
    "wells": wells,
    "wells-plain": wells_plain,
    "gaussian500": gaussian500,
    "gaussian500-blind": gaussian500_blind,
    "improper": improper,
    **{name: posterior_row(name) for name in targets.POSTERIORS},
    "phi4-2500": phi4(2_500),
    "phi4-20000": phi4(20_000),
    "phi4-best": phi4_best,
    "path": path,
}


def table() -> None:
    """One line a run."""
    print(
        "| row | seed | effort | nats left | ESS | k̂ | error of log Z ± se | trusted | evaluations"
        " | minutes | more |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name in ROWS:
        for path_ in sorted(OUT.glob(f"{name}-[0-9].json")):
            r = json.loads(path_.read_text())
            if "elbo" not in r:
                continue
            error = "–" if r["error"] is None else f"{r['error']:+.4f} ± {r['log_z_se']:.4f}"
            known = (
                "modes",
                "left",
                "left off",
                "left of the flow",
                "error of 2,000",
                "mean off",
                "sd off",
            )
            more = ", ".join(f"{k} {r[k]:.4g}" for k in known if k in r)
            print(
                f"| {name} | {path_.stem[-1]} | {r['effort']} | {r['gap']:.4f} | {r['ess']:.3f} |"
                f" {r['k_hat']:.2f} | {error} | {'yes' if r['trusted'] else 'no'} |"
                f" {r['evaluations']:,} | {r['minutes']:.1f} | {more} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("row", choices=[*ROWS, "table"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    if args.row == "table":
        return table()
    if args.threads:
        torch.set_num_threads(args.threads)
    OUT.mkdir(parents=True, exist_ok=True)
    result = ROWS[args.row](args.seed)
    text = json.dumps(result, indent=1, default=float)
    (OUT / f"{args.row}-{args.seed}.json").write_text(text)
    print(text)
    return None


if __name__ == "__main__":
    main()
