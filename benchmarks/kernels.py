"""Compiled kernels against their references in PyTorch: accuracy over a million random inputs, and
time per entry.

    python benchmarks/kernels.py [--rows 1000000] [--threads 2]

Errors are relative to the larger of 1 and the true value, which the reference computes in float64
from the same inputs; those of the reference in float32 stand beside those of the kernel. A spline's
value cannot be nearer to the truth than its slope times the rounding of its knots, so `conditioned`
divides the error by the slope as well, where that is above 1.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor

from diffeo.kernels import elementwise, which
from diffeo.maps import Affine, ElementwiseMap, LogisticMixture, RQSpline

MAPS: dict[str, ElementwiseMap] = {
    "rq_spline": RQSpline(bins=8),
    "affine": Affine(),
    "logistic_mixture": LogisticMixture(components=8),
}
DIRECTIONS = ("forward", "inverse")
FIND = elementwise.find


def run(
    map: ElementwiseMap, direction: str, x: Tensor, params: Tensor, native: bool
) -> tuple[Tensor, Tensor]:
    elementwise.find = FIND if native else lambda *_: None
    y, logdet = getattr(map, direction)(x, params)
    elementwise.find = FIND
    return y, logdet


def accuracy(rows: int, chunk: int = 100_000) -> None:
    print(
        "| kernel | direction | value: kernel | reference | conditioned"
        " | log-det: kernel | reference |"
        " float64: value | log-det |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, map in MAPS.items():
        for direction in DIRECTIONS:
            worst = torch.zeros(7, dtype=torch.float64)
            for seed in range(max(1, rows // chunk)):
                worst = torch.maximum(worst, errors(map, direction, chunk, seed))
            print(
                f"| {name} | {direction} | " + " | ".join(f"{float(v):.1e}" for v in worst) + " |"
            )


def errors(map: ElementwiseMap, direction: str, rows: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(rows, generator=generator)
    params = torch.randn(rows, map.num_params, generator=generator)
    exact, exact_l = run(map, direction, x.double(), params.double(), native=False)
    fine, fine_l = run(map, direction, x.double(), params.double(), native=True)
    y, logdet = run(map, direction, x, params, native=True)
    reference, reference_l = run(map, direction, x, params, native=False)
    steep = exact_l.exp().clamp_min(1)

    def relative(a: Tensor, b: Tensor, by: Tensor | float = 1.0) -> Tensor:
        return ((a - b).abs() / b.abs().clamp_min(1) / by).max().double()

    pairs = [
        relative(y, exact),
        relative(reference, exact),
        relative(y, exact, steep),
        relative(logdet, exact_l),
        relative(reference_l, exact_l),
    ]
    return torch.stack([*pairs, relative(fine, exact), relative(fine_l, exact_l)])


def speed(rows: int = 8192, rounds: int = 30) -> None:
    print(
        "\n| kernel | direction | ns an entry: kernel | reference | backward: kernel | reference"
        " |\n|---|---|---|---|---|---|"
    )
    for name, map in MAPS.items():
        for direction in DIRECTIONS:
            x = torch.randn(rows, 1, requires_grad=True)
            params = torch.randn(rows, 1, map.num_params, requires_grad=True)
            times: dict[tuple[bool, str], list[float]] = {}
            for _ in range(rounds):
                for native in (True, False):
                    start = time.perf_counter()
                    y, logdet = run(map, direction, x, params, native)
                    middle = time.perf_counter()
                    torch.autograd.grad([y.sum(), logdet.sum()], [x, params])
                    times.setdefault((native, "there"), []).append(middle - start)
                    times.setdefault((native, "back"), []).append(time.perf_counter() - middle)
            ns = {key: 1e9 * statistics.median(values[5:]) / rows for key, values in times.items()}
            cells = [ns[native, part] for part in ("there", "back") for native in (True, False)]
            print(f"| {name} | {direction} | " + " | ".join(f"{v:.0f}" for v in cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{which()}, {args.threads} threads\n")
    with torch.no_grad():
        accuracy(args.rows)
    speed()


if __name__ == "__main__":
    main()
