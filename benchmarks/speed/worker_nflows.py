"""nflows' couplings."""

from __future__ import annotations

from nflows.distributions import StandardNormal
from nflows.flows import Flow
from nflows.transforms import (
    AffineCouplingTransform,
    CompositeTransform,
    PiecewiseRationalQuadraticCouplingTransform,
)
from torch import Tensor, nn
from worker import Contender, Settings, serve
from worker_torch import contender, halves, mlp, start


class Net(nn.Module):
    """The same MLP as everyone's; nflows' own takes no context, which its couplings pass."""

    def __init__(self, inputs: int, hidden: list[int], outputs: int) -> None:
        super().__init__()
        self.body = mlp(inputs, hidden, outputs)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.body(x)


def build(s: Settings) -> Contender:
    start(s)
    kind, more = AffineCouplingTransform, {}
    if s.model == "nsf":
        kind, more = (
            PiecewiseRationalQuadraticCouplingTransform,
            {"num_bins": s.bins, "tails": "linear", "tail_bound": 5.0},
        )

    def layer(i: int) -> nn.Module:
        transformed = (~halves(s.shape[0], i)).int()
        return kind(transformed, lambda inputs, outputs: Net(inputs, s.hidden, outputs), **more)

    flow = Flow(CompositeTransform([layer(i) for i in range(s.layers)]), StandardNormal(s.shape))
    return contender("nflows", flow, flow.log_prob, flow.sample)


if __name__ == "__main__":
    serve(build)
