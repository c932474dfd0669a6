"""The contenders of glow.py: Glow of 3 x 32 x 32 reals, 3 scales x 8 steps, networks 3x3, 1x1, 3x3 of width 64, batch 32.

FrEIA has no learned 1x1 convolution for images: its AllInOneBlock mixes channels by a fixed rotation.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from worker import Model, serve

SHAPE, SCALES, STEPS, WIDTH, BATCH = (3, 32, 32), 3, 8, 64, 32


def diffeo_model() -> Model:
    import diffeo

    flow = diffeo.models.glow(SHAPE, scales=SCALES, steps=STEPS, width=WIDTH, bits=None)
    flow.initialize(images())
    return flow, flow.log_prob, lambda: flow.sample((BATCH,))


def half_model() -> Model:
    """The networks in bfloat16, densities in float32 all the same: `fit(precision="bfloat16")`."""
    flow, log_prob, sample = diffeo_model()

    def half(call: Callable[[], Tensor]) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return call()

    return flow, lambda x: half(lambda: log_prob(x)), lambda: half(sample)


def normflows_model() -> Model:
    import normflows as nf

    bases, flows, merges = [], [], []
    for i in range(SCALES):  # from the coarsest scale to the finest
        channels = 3 * 2 ** (SCALES + 1 - i)
        flows.append([*(nf.flows.GlowBlock(channels, WIDTH, split_mode="channel") for _ in range(STEPS)), nf.flows.Squeeze()])
        size = 32 // 2 ** (SCALES - i)
        merges += [nf.flows.Merge()] if i else []
        bases.append(nf.distributions.DiagGaussian((channels if i == 0 else channels // 2, size, size)))
    model = nf.MultiscaleFlow(bases, flows, merges)
    return model, lambda x: model.log_prob(x, None), lambda: model.sample(BATCH)


def freia_model() -> Model:
    from FrEIA.framework import GraphINN, InputNode, Node, OutputNode
    from FrEIA.modules import AllInOneBlock, IRevNetDownsampling, Split

    def network(inputs: int, outputs: int) -> nn.Module:
        last = nn.Conv2d(WIDTH, outputs, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        return nn.Sequential(nn.Conv2d(inputs, WIDTH, 3, padding=1), nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 1), nn.ReLU(), last)

    graph: list[Node] = [InputNode(*SHAPE)]
    ends, here = [], graph[0].out0
    for scale in range(SCALES):
        graph.append(Node(here, IRevNetDownsampling, {}))
        for _ in range(STEPS):
            graph.append(Node(graph[-1].out0, AllInOneBlock, {"subnet_constructor": network, "permute_soft": True}))
        here = graph[-1].out0
        if scale < SCALES - 1:
            graph.append(Node(here, Split, {}))
            here = graph[-1].out0
            ends.append(OutputNode(graph[-1].out1))
    model = GraphINN([*graph, *ends, OutputNode(here)])
    shapes = [(12 * 2**i // (1 if i == SCALES - 1 else 2), 16 // 2**i, 16 // 2**i) for i in range(SCALES)]

    def log_prob(x: Tensor) -> Tensor:
        parts, logdet = model(x)
        norm = sum(z.square().flatten(1).sum(1) for z in parts)
        return -0.5 * norm - 0.5 * math.log(2 * math.pi) * math.prod(SHAPE) + logdet

    return model, log_prob, lambda: model([torch.randn(BATCH, *shape) for shape in shapes], rev=True)


def images() -> Tensor:
    return torch.rand(BATCH, *SHAPE)


if __name__ == "__main__":
    serve({"diffeo": diffeo_model, "bfloat16": half_model, "normflows": normflows_model, "freia": freia_model}, images)
