"""Glow: activation normalisation, invertible 1×1 convolutions and affine couplings at several
scales.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...conditioners import ConvNet
from ...core.shapes import Shape
from ...core.transform import Transform
from ...flow import Flow
from ...layers import ActNorm, Conv1x1, Coupling
from ...layers.memory.recompute import Memory
from ...layers.mixing.conv1x1 import Kind
from ...maps import Affine
from ...partitions import Channels
from ..recipe import model
from .frame import ImageModel, Padding, Size, dial, multiscale
from .prior import split_prior

__all__ = ["glow"]

SIZES = {
    "tiny": {"scales": 2, "steps": 4, "width": 32},
    "small": {"scales": 2, "steps": 8, "width": 64},
    "paper": {"scales": 3, "steps": 32, "width": 512},  # CIFAR-10, table 4
}


@model
def glow(
    event_shape: int | Sequence[int],
    context_shape: int | Sequence[int] | None = None,
    *,
    size: Size = "small",
    scales: int | None = None,
    steps: int | None = None,
    width: int | None = None,
    conv: Kind = "plu",
    log_scale: float = 1.5,
    activation: str = "relu",
    alpha: float | None = None,
    classes: int | None = None,
    bits: int | None = 8,
    pad: Padding = "auto",
    memory: Memory = "store",
    seed: int = 0,
) -> Flow:
    """Glow (Kingma & Dhariwal 2018, arXiv:1807.03039): `scales` × [squeeze, `steps` × (ActNorm, 1×1
    conv, coupling), split].

    Events are uint8 images (C, H, W) of `bits` bits, `bits=None` takes real-valued ones.
    `classes=K` makes contexts class numbers 0..K−1. Sizes that 2^scales does not divide are padded.
    Scales of the couplings are bounded, exp(b tanh(s / b)) with b = `log_scale`, where the paper
    has sigmoid(s + 2). Raises `ShapeError` for other events.

    `alpha` puts logit(α + (1 − 2α) x) behind the dequantisation, as RealNVP does; with 1e-5 that is
    a large gain where many pixels are plain black or white.

    `memory="invert"` trains in memory that does not grow with the depth (`layers.Recompute`).

    >>> import torch, diffeo
    >>> flow = diffeo.models.glow((1, 8, 8), size="tiny")
    >>> z, _ = flow.encode(torch.zeros(5, 1, 8, 8, dtype=torch.uint8))
    >>> [tuple(part.shape) for part in flow.unpack(z)]
    [(5, 2, 4, 4), (5, 8, 2, 2)]
    """
    s = dial(size, SIZES, event_shape, pad=pad, scales=scales, steps=steps, width=width)
    frame = ImageModel(
        event_shape=event_shape,
        context_shape=context_shape,
        classes=classes,
        bits=bits,
        pad=pad,
        multiple=2 ** s["scales"],
        alpha=alpha,
        memory=memory,
    )

    def flow_steps(shape: Shape) -> Iterator[Transform]:
        for _ in range(s["steps"]):
            yield ActNorm(shape)
            yield Conv1x1(shape, conv)
            yield Coupling(
                shape, Affine(log_scale), ConvNet(s["width"], activation), Channels(), frame.context
            )

    return frame.build(
        multiscale(
            frame.shape,
            s["scales"],
            lambda _: (),
            after=flow_steps,
            prior=split_prior(frame.context),
            memory=memory,
        )
    )
