"""Wind: a direction on the circle and a speed above zero, jointly; the seam at 360 degrees is no
seam.
"""

from __future__ import annotations

import math

import torch

import diffeo


def main(steps: int = 800) -> None:
    generator = torch.Generator().manual_seed(0)
    north = torch.rand(4000, generator=generator) < 0.6
    direction = torch.where(north, 0.0, 200.0) + 25 * torch.randn(4000, generator=generator)
    speed = torch.exp(0.4 * torch.randn(4000, generator=generator) + torch.where(north, 2.0, 1.0))
    x = torch.stack([direction % 360, speed], 1)

    flow = diffeo.models.nsf(
        (2,), layers=4, hidden=(32, 32), supports=["circular:0:360", "positive"]
    )
    diffeo.fit(flow, x, steps=steps)

    below, above = flow.log_prob(torch.tensor([[359.999, 7.0], [0.001, 7.0]])).tolist()
    print(f"log-density just below and above north: {below:.4f} and {above:.4f}")
    drawn, data = ((rows[:, 0] * math.pi / 180).cos() > 0.5 for rows in (flow.sample((5000,)), x))
    print(
        f"share within 60 degrees of north: samples {drawn.double().mean():.2f}, data"
        f" {data.double().mean():.2f}"
    )


if __name__ == "__main__":
    main()
