"""A flow from its parts, trained with a loop of one's own: diffeo's transforms are plain
modules.
"""

from __future__ import annotations

import torch
from sklearn.datasets import make_moons

import diffeo
from diffeo import bases, conditioners, layers, maps, partitions


def main(steps: int = 1000) -> None:
    x = torch.tensor(make_moons(2000, noise=0.05, random_state=0)[0], dtype=torch.float32)
    couplings = [
        layers.Coupling(
            (2,),
            maps.RQSpline(bins=8),
            conditioners.MLP((64, 64)),
            partitions.Halves(flip=bool(i % 2)),
        )
        for i in range(6)
    ]
    flow = diffeo.Flow(diffeo.Chain([layers.Standardize((2,)), *couplings]), bases.Normal((2,)))
    flow.initialize(x)

    optimizer = torch.optim.Adam(flow.parameters(), lr=2e-3)
    for _ in range(steps):
        loss = -flow.log_prob(x[torch.randint(len(x), (256,))]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"NLL {loss.item():.3f} nats (a Gaussian's is {1.94:.2f})")
    print(diffeo.check(flow, x).verdict)


if __name__ == "__main__":
    main()
