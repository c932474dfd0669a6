"""RealNVP on images: affine couplings of checkerboards and of channels at several scales."""

from __future__ import annotations

from collections.abc import Sequence

from ...conditioners import ConvResNet
from ...core.shapes import Shape
from ...core.transform import Transform
from ...flow import Flow
from ...layers import ActNorm, Coupling
from ...layers.memory.recompute import Memory
from ...maps import Affine
from ...partitions import Channels, Checkerboard, Partition
from ..recipe import model
from .frame import ImageModel, Padding, Size, dial, multiscale

__all__ = ["realnvp"]

SIZES = {
    "tiny": {"scales": 2, "width": 16, "blocks": 1},
    "small": {"scales": 2, "width": 32, "blocks": 2},
    "paper": {"scales": 3, "width": 64, "blocks": 8},  # CIFAR-10, section 4.1
}


@model
def realnvp(
    event_shape: int | Sequence[int],
    context_shape: int | Sequence[int] | None = None,
    *,
    size: Size = "small",
    scales: int | None = None,
    width: int | None = None,
    blocks: int | None = None,
    log_scale: float = 1.5,
    alpha: float = 0.05,
    activation: str = "relu",
    classes: int | None = None,
    bits: int | None = 8,
    pad: Padding = "auto",
    memory: Memory = "store",
    seed: int = 0,
) -> Flow:
    """RealNVP (Dinh et al. 2016, arXiv:1605.08803): at every scale 3 checkerboard couplings,
    squeeze, 3 channel couplings.

    Pixels enter as logit(α + (1 − 2α) x). Residual networks of `blocks` blocks of `width` feature
    maps. ActNorm stands where the paper has batch normalisation, so that rows do not see each
    other. After the last scale four more checkerboard couplings; a single pixel has none. Events
    are uint8 images (C, H, W) of `bits` bits, `bits=None` takes real-valued ones (without logit).
    `classes=K` makes contexts class numbers 0..K−1. Sizes that 2^scales does not divide are padded.
    Raises `ShapeError` for other events.

    `memory="invert"` trains in memory that does not grow with the depth (`layers.Recompute`).

    >>> import torch, diffeo
    >>> flow = diffeo.models.realnvp((3, 8, 8), size="tiny", classes=10)
    >>> flow.log_prob(torch.zeros(5, 3, 8, 8, dtype=torch.uint8), torch.arange(5)).shape
    torch.Size([5])
    """
    s = dial(size, SIZES, event_shape, pad=pad, scales=scales, width=width, blocks=blocks)
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

    def couplings(shape: Shape, partitions: Sequence[Partition]) -> list[Transform]:
        network = ConvResNet(s["width"], s["blocks"], activation)
        each = [
            [Coupling(shape, Affine(log_scale), network, p, frame.context), ActNorm(shape)]
            for p in partitions
        ]
        return [link for pair in each for link in pair]

    def checkerboards(shape: Shape, count: int = 3) -> list[Transform]:
        if shape[1:] == (1, 1):  # a single pixel is no checkerboard
            return []
        return couplings(shape, [Checkerboard(shape, flip=bool(i % 2)) for i in range(count)])

    def channels(shape: Shape) -> list[Transform]:
        last = shape[1:] == deepest
        return couplings(shape, [Channels(flip=bool(i % 2)) for i in range(3)]) + (
            checkerboards(shape, 4) if last else []
        )

    deepest = tuple(n // 2 ** s["scales"] for n in frame.shape[1:])
    return frame.build(
        multiscale(
            frame.shape,
            s["scales"],
            checkerboards,
            after=channels,
            prior=lambda _: (),
            memory=memory,
        )
    )
