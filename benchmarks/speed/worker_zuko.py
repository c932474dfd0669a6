"""zuko's general coupling, which its RealNVP is made of, with its rational-quadratic spline or its
affine map.

Its `NSF(passes=2)` is a coupling too, but of masked networks that see all entries: larger and
slower.
"""

from __future__ import annotations

import torch
import zuko
from worker import Contender, Settings, serve
from worker_torch import contender, halves, start
from zuko.distributions import DiagNormal
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.lazy import Flow, UnconditionalDistribution


def build(s: Settings) -> Contender:
    start(s)
    size, map = s.shape[0], {}
    if s.model == "nsf":
        map = {
            "univariate": zuko.transforms.MonotonicRQSTransform,
            "shapes": [(s.bins,), (s.bins,), (s.bins - 1,)],
        }
    layers = [
        GeneralCouplingTransform(size, mask=halves(size, i), hidden_features=s.hidden, **map)
        for i in range(s.layers)
    ]
    base = UnconditionalDistribution(
        DiagNormal, loc=torch.zeros(size), scale=torch.ones(size), buffer=True
    )
    flow = Flow(layers, base)
    return contender("zuko", flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,)))


if __name__ == "__main__":
    serve(build)
