"""FrEIA: RealNVP of vectors and Glow of images. It has no spline coupling in release 0.2."""

from __future__ import annotations

import math

import torch
from FrEIA.framework import GraphINN, InputNode, Node, OutputNode, SequenceINN
from FrEIA.modules import AllInOneBlock, GLOWCouplingBlock, IRevNetDownsampling, Split
from torch import Tensor, nn
from worker import Contender, Settings, serve
from worker_torch import contender, mlp, start

GLOW_NOTE = (
    "channels are mixed by fixed rotations (no learned 1x1 convolution), and no network predicts"
    " what is factored out"
)


def build(s: Settings) -> Contender:
    start(s)
    return {"realnvp": realnvp, "glow": glow}[s.model](s)


def normal(parts: list[Tensor], logdet: Tensor, shape: list[int]) -> Tensor:
    """Standard normal log density of all parts, with the log-det."""
    norm = sum(z.square().flatten(1).sum(1) for z in parts)
    return -0.5 * norm - 0.5 * math.log(2 * math.pi) * math.prod(shape) + logdet


def realnvp(s: Settings) -> Contender:
    """A block transforms one half, then the other: two coupling layers."""
    model = SequenceINN(*s.shape)
    for _ in range(s.layers // 2):
        model.append(
            GLOWCouplingBlock,
            subnet_constructor=lambda inputs, outputs: mlp(inputs, s.hidden, outputs),
        )

    def log_prob(x: Tensor) -> Tensor:
        z, logdet = model(x)
        return normal([z], logdet, s.shape)

    return contender(
        "FrEIA", model, log_prob, lambda n: model(torch.randn(n, *s.shape), rev=True)[0]
    )


def network(width: int, inputs: int, outputs: int) -> nn.Module:
    last = nn.Conv2d(width, outputs, 3, padding=1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Conv2d(inputs, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 1),
        nn.ReLU(),
        last,
    )


def glow(s: Settings) -> Contender:
    model, ends = glow_graph(s), s.scales - 1
    shapes = [
        (
            12 * 2**i // (1 if i == ends else 2),
            s.shape[1] // 2 ** (i + 1),
            s.shape[2] // 2 ** (i + 1),
        )
        for i in range(s.scales)
    ]

    def log_prob(x: Tensor) -> Tensor:
        return normal(*model(x), s.shape)

    return contender(
        "FrEIA",
        model,
        log_prob,
        lambda n: model([torch.randn(n, *shape) for shape in shapes], rev=True)[0],
        GLOW_NOTE,
    )


def glow_graph(s: Settings) -> GraphINN:
    graph: list[Node] = [InputNode(*s.shape)]
    outputs, here = [], graph[0].out0
    block = {"subnet_constructor": lambda a, b: network(s.width, a, b), "permute_soft": True}
    for scale in range(s.scales):
        graph.append(Node(here, IRevNetDownsampling, {}))
        for _ in range(s.steps):
            graph.append(Node(graph[-1].out0, AllInOneBlock, block))
        here = graph[-1].out0
        if scale < s.scales - 1:
            graph.append(Node(here, Split, {}))
            here = graph[-1].out0
            outputs.append(OutputNode(graph[-1].out1))
    return GraphINN([*graph, *outputs, OutputNode(here)])


if __name__ == "__main__":
    serve(build)
