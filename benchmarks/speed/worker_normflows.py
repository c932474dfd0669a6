"""normflows: its spline coupling, its affine coupling, and its Glow."""

from __future__ import annotations

import normflows as nf
from worker import Contender, Settings, serve
from worker_torch import contender, start

NSF_NOTE = (
    "one more 128 x 128 layer (its networks are residual), and a learned spline of its own for"
    " every conditioning entry"
)
GLOW_NOTE = (
    "a learned Gaussian per pixel at every scale instead of a network that predicts it from the"
    " other half"
)


def build(s: Settings) -> Contender:
    start(s)
    return {"nsf": nsf, "realnvp": realnvp, "glow": glow}[s.model](s)


def vector(flows: list[nf.flows.Flow], size: int, note: str) -> Contender:
    model = nf.NormalizingFlow(nf.distributions.DiagGaussian(size, trainable=False), flows)
    return contender("normflows", model, model.log_prob, lambda n: model.sample(n)[0], note)


def nsf(s: Settings) -> Contender:
    make = nf.flows.CoupledRationalQuadraticSpline
    size, blocks = s.shape[0], len(s.hidden) - 1
    flows = [
        make(size, blocks, s.hidden[0], num_bins=s.bins, tail_bound=5.0, reverse_mask=i % 2 == 1)
        for i in range(s.layers)
    ]
    return vector(flows, size, NSF_NOTE)


def realnvp(s: Settings) -> Contender:
    size, flows = s.shape[0], []
    for _ in range(s.layers):
        flows += [
            nf.flows.AffineCouplingBlock(nf.nets.MLP([size // 2, *s.hidden, size])),
            nf.flows.Permute(size, mode="swap"),
        ]
    return vector(flows, size, "")


def glow(s: Settings) -> Contender:
    bases, flows, merges = [], [], []
    for i in range(s.scales):  # from the coarsest scale to the finest
        channels = 3 * 2 ** (s.scales + 1 - i)
        blocks = [
            nf.flows.GlowBlock(channels, s.width, split_mode="channel") for _ in range(s.steps)
        ]
        flows.append([*blocks, nf.flows.Squeeze()])
        size = s.shape[1] // 2 ** (s.scales - i)
        merges += [nf.flows.Merge()] if i else []
        bases.append(
            nf.distributions.DiagGaussian((channels if i == 0 else channels // 2, size, size))
        )
    model = nf.MultiscaleFlow(bases, flows, merges)
    return contender(
        "normflows",
        model,
        lambda x: model.log_prob(x, None),
        lambda n: model.sample(n)[0],
        GLOW_NOTE,
    )


if __name__ == "__main__":
    serve(build)
