"""The conditioners alone, with backward and Adam: what any coupling flow of this layout has to
compute.
"""

from __future__ import annotations

import torch
from torch import nn
from worker import Contender, Settings, serve
from worker_torch import contender, mlp, start


def build(s: Settings) -> Contender:
    start(s)
    half = s.shape[0] // 2
    each = 3 * s.bins - 1 if s.model == "nsf" else 2
    nets = nn.ModuleList(mlp(half, s.hidden, half * each) for _ in range(s.layers))

    def run(x: torch.Tensor) -> torch.Tensor:
        return sum(net(x[:, :half]).sum(1) for net in nets)

    return contender(
        "bare",
        nets,
        run,
        lambda n: run(torch.zeros(n, *s.shape)),
        "no density: the networks alone",
        density=False,
    )


if __name__ == "__main__":
    serve(build)
