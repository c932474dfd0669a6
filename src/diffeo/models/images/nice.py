"""NICE on images: additive couplings of all pixels as one vector."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ...bases import Logistic
from ...conditioners import MLP
from ...core.transform import Transform
from ...flow import Flow
from ...layers import ActNorm, Coupling, Flatten, Pointwise
from ...layers.memory.recompute import Memory
from ...maps import Additive, Affine
from ...partitions import alternating
from ..recipe import model
from .frame import ImageModel, Size, dial

__all__ = ["nice"]

SIZES = {
    "tiny": {"layers": 4, "width": 128, "depth": 2},
    "small": {"layers": 4, "width": 500, "depth": 3},
    "paper": {"layers": 4, "width": 1000, "depth": 5},  # MNIST, section 5.1
}


@model
def nice(
    event_shape: int | Sequence[int],
    context_shape: int | Sequence[int] | None = None,
    *,
    size: Size = "small",
    layers: int | None = None,
    width: int | None = None,
    depth: int | None = None,
    activation: str = "relu",
    alpha: float | None = None,
    classes: int | None = None,
    bits: int | None = 8,
    memory: Memory = "store",
    seed: int = 0,
) -> Flow:
    """NICE (Dinh et al. 2014, arXiv:1410.8516): odd and even pixels shift each other, then each is
    scaled; logistic base.

    Fully connected networks of `depth` layers of `width` units, `layers` couplings. Pixels are
    first normalised one by one. Events are uint8 images (C, H, W) of `bits` bits, `bits=None` takes
    real-valued ones. `classes=K` makes contexts class numbers 0..K−1. Raises `ShapeError` for other
    events.

    `alpha` puts logit(α + (1 − 2α) x) behind the dequantisation, as RealNVP does; with 1e-5 that is
    a large gain where many pixels are plain black or white.

    `memory="invert"` trains in memory that does not grow with the depth (`layers.Recompute`).

    >>> import torch, diffeo
    >>> flow = diffeo.models.nice((1, 8, 8), size="tiny", bits=4)
    >>> flow.sample((2,)).dtype
    torch.uint8
    """
    s = dial(size, SIZES, event_shape, pad="none", layers=layers, width=width, depth=depth)
    frame = ImageModel(
        event_shape=event_shape,
        context_shape=context_shape,
        classes=classes,
        bits=bits,
        pad="none",
        alpha=alpha,
        memory=memory,
    )
    pixels = prod(frame.event)
    body: list[Transform] = [Flatten(frame.event), ActNorm(pixels)]
    for layer in range(s["layers"]):
        network = MLP((s["width"],) * s["depth"], activation)
        body.append(
            Coupling(
                pixels,
                Additive(),
                network,
                alternating(pixels, flip=bool(layer % 2)),
                frame.context,
            )
        )
    return frame.build(
        [*body, Pointwise(pixels, Affine(log_scale=5.0))], base=Logistic, normalize=False
    )
