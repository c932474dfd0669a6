"""The contenders of speed.py.

D = 16, 8 coupling layers, alternating halves, rational-quadratic splines with 8 bins, MLP 128 x 2, batch 1,024, float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from worker import Model, serve

D, LAYERS, BINS, HIDDEN, BATCH = 16, 8, 8, 128, 1024


def diffeo_model() -> Model:
    import diffeo

    flow = diffeo.models.nsf((D,), layers=LAYERS, hidden=(HIDDEN, HIDDEN), bins=BINS)
    return flow, flow.log_prob, lambda: flow.sample((BATCH,))


def zuko_model() -> Model:
    import zuko

    flow = zuko.flows.NSF(D, transforms=LAYERS, bins=BINS, passes=2, hidden_features=[HIDDEN, HIDDEN])
    return flow, lambda x: flow().log_prob(x), lambda: flow().sample((BATCH,))


class Net(nn.Module):
    """The same MLP for nflows, whose own takes no context, which its couplings pass."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs)
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.body(x)


def nflows_model() -> Model:
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.transforms import CompositeTransform, PiecewiseRationalQuadraticCouplingTransform
    from nflows.utils import create_mid_split_binary_mask

    def layer(i: int) -> nn.Module:
        mask = create_mid_split_binary_mask(D)
        return PiecewiseRationalQuadraticCouplingTransform(
            mask if i % 2 else 1 - mask,
            Net,
            num_bins=BINS,
            tails="linear",
            tail_bound=5.0,
        )

    flow = Flow(CompositeTransform([layer(i) for i in range(LAYERS)]), StandardNormal([D]))
    return flow, flow.log_prob, lambda: flow.sample(BATCH)


def bare_model() -> Model:
    """The conditioners alone: what any coupling flow of this shape has to compute."""
    outputs = D // 2 * (3 * BINS - 1)
    nets = nn.ModuleList(
        nn.Sequential(nn.Linear(D // 2, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs))
        for _ in range(LAYERS)
    )
    x = torch.randn(BATCH, D // 2)
    return nets, lambda rows: sum(net(rows[:, : D // 2]).sum(1) for net in nets), lambda: sum(net(x).sum() for net in nets)


MODELS = {"diffeo": diffeo_model, "zuko": zuko_model, "nflows": nflows_model, "bare": bare_model}

if __name__ == "__main__":
    serve(MODELS, lambda: torch.randn(BATCH, D))
