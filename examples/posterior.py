"""Simulation-based inference in thirty lines: learn p(parameters | observation) from simulations
alone.

A ball is thrown with unknown speed and angle; what is seen is where it lands and how long it flies,
with noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

import diffeo


def simulate(parameters: Tensor, generator: torch.Generator) -> Tensor:
    speed, angle = parameters.unbind(-1)
    time = 2 * speed * angle.sin() / 9.81
    seen = torch.stack([speed * angle.cos() * time, time], -1)
    return seen + torch.randn(seen.shape, generator=generator) * torch.tensor([0.5, 0.05])


def main(steps: int = 1500) -> None:
    generator = torch.Generator().manual_seed(0)
    prior = torch.rand(20_000, 2, generator=generator) * torch.tensor([20.0, 1.3]) + torch.tensor(
        [5.0, 0.15]
    )
    seen = simulate(prior, generator)

    flow = diffeo.models.nsf(
        (2,),
        context_shape=(2,),
        layers=6,
        hidden=(64, 64),
        supports=["interval:5:25", "interval:0.15:1.45"],
    )
    result = diffeo.fit(flow, prior, seen, steps=steps, batch_size=512)
    print(f"held-out NLL {result.best['nll']:.3f} ± {result.best['nll_se']:.3f} nats")

    truth = torch.tensor([15.0, 0.9])
    posterior = flow.condition(simulate(truth, generator))
    draws = posterior.sample((5000,))
    for name, true, column in zip(("speed", "angle"), truth, draws.T, strict=True):
        print(f"{name}: true {true:.2f}, posterior {column.mean():.2f} ± {column.std():.2f}")


if __name__ == "__main__":
    main()
