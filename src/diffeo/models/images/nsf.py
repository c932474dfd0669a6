"""Neural Spline Flow on images: Glow's frame with spline couplings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...conditioners import ConvResNet
from ...core.shapes import Shape
from ...core.transform import Transform
from ...flow import Flow
from ...layers import ActNorm, Conv1x1, Coupling
from ...layers.memory.recompute import Memory
from ...partitions import Channels
from ..nsf import SplineName, named_spline
from ..recipe import model
from .frame import ImageModel, Padding, Size, dial, multiscale
from .prior import split_prior

__all__ = ["nsf"]

SIZES = {
    "tiny": {"scales": 2, "steps": 2, "width": 32, "blocks": 1},
    "small": {"scales": 2, "steps": 4, "width": 64, "blocks": 2},
    "paper": {"scales": 3, "steps": 7, "width": 96, "blocks": 3},  # CIFAR-10, appendix B.2
}


@model
def nsf(
    event_shape: int | Sequence[int],
    context_shape: int | Sequence[int] | None = None,
    *,
    size: Size = "small",
    scales: int | None = None,
    steps: int | None = None,
    width: int | None = None,
    blocks: int | None = None,
    bins: int = 4,
    spline: SplineName = "rational_quadratic",
    bound: float = 3.0,
    activation: str = "relu",
    alpha: float | None = None,
    classes: int | None = None,
    bits: int | None = 8,
    pad: Padding = "auto",
    memory: Memory = "store",
    seed: int = 0,
) -> Flow:
    """Neural Spline Flow (Durkan et al. 2019, arXiv:1906.04032): `scales` × [squeeze, `steps` ×
    (ActNorm, 1×1 conv, spline)].

    Splines of `bins` bins on [−bound, bound] with identity tails, of another kind than the paper's
    if `spline` says so (see vectors), residual networks of `blocks` blocks of `width` feature maps,
    half of the channels factored out between scales under a learned prior. Events are uint8 images
    (C, H, W) of `bits` bits, `bits=None` takes real-valued ones. `classes=K` makes contexts class
    numbers 0..K−1. Sizes that 2^scales does not divide are padded. Raises `ShapeError` for other
    events.

    `alpha` puts logit(α + (1 − 2α) x) behind the dequantisation, as RealNVP does; with 1e-5 that is
    a large gain where many pixels are plain black or white.

    `memory="invert"` trains in memory that does not grow with the depth (`layers.Recompute`).

    >>> import torch, diffeo
    >>> diffeo.models.nsf((1, 8, 8), size="tiny").sample((2,)).shape
    torch.Size([2, 1, 8, 8])
    """
    s = dial(
        size, SIZES, event_shape, pad=pad, scales=scales, steps=steps, width=width, blocks=blocks
    )
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
            yield Conv1x1(shape, "plu")
            network = ConvResNet(s["width"], s["blocks"], activation)
            yield Coupling(
                shape, named_spline(spline, bins, bound), network, Channels(), frame.context
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
