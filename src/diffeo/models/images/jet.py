"""Jet: affine couplings of patches with vision transformers, nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from ...conditioners import Transformer
from ...core.transform import Transform
from ...flow import Flow
from ...layers import Coupling, Patchify
from ...layers.memory.recompute import Memory
from ...maps import Affine
from ...partitions import Tokens
from ...partitions.tokens import By
from ..recipe import model
from .frame import ImageModel, Padding, Size, dial

__all__ = ["jet"]

SIZES = {
    "tiny": {"layers": 4, "patch": 2, "width": 32, "depth": 1, "heads": 2},
    "small": {"layers": 8, "patch": 4, "width": 96, "depth": 2, "heads": 4},
    # ImageNet 64×64, table 2
    "paper": {"layers": 64, "patch": 4, "width": 512, "depth": 5, "heads": 8},
}
SPATIAL: tuple[By, ...] = ("rows", "columns", "checkerboard")


@model
def jet(
    event_shape: int | Sequence[int],
    context_shape: int | Sequence[int] | None = None,
    *,
    size: Size = "small",
    layers: int | None = None,
    patch: int | None = None,
    width: int | None = None,
    depth: int | None = None,
    heads: int | None = None,
    log_scale: float = 1.5,
    alpha: float | None = None,
    classes: int | None = None,
    bits: int | None = 8,
    pad: Padding = "auto",
    memory: Memory = "store",
    seed: int = 0,
) -> Flow:
    """Jet (Kolesnikov et al. 2024, arXiv:2412.15129): `layers` affine couplings of patch tokens,
    conditioned by transformers.

    Images are cut into `patch`×`patch` patches; two couplings that split the channels of every
    token at random take turns with two that split the tokens by rows, by columns or as a
    checkerboard. No multi-scale, no ActNorm inside, no 1×1 convolutions. Transformers of `depth`
    blocks of `width`, `heads` heads. Events are uint8 images (C, H, W) of `bits` bits, `bits=None`
    takes real-valued ones. `classes=K` makes contexts class numbers 0..K−1. Sizes that `patch` does
    not divide are padded. Raises `ShapeError` for other events.

    `alpha` puts logit(α + (1 − 2α) x) behind the dequantisation, as RealNVP does; with 1e-5 that is
    a large gain where many pixels are plain black or white.

    `memory="invert"` trains in memory that does not grow with the depth (`layers.Recompute`).

    >>> import torch, diffeo
    >>> diffeo.models.jet((1, 8, 8), size="tiny").sample((2,)).shape
    torch.Size([2, 1, 8, 8])
    """
    s = dial(
        size,
        SIZES,
        event_shape,
        pad=pad,
        layers=layers,
        patch=patch,
        width=width,
        depth=depth,
        heads=heads,
    )
    frame = ImageModel(
        event_shape=event_shape,
        context_shape=context_shape,
        classes=classes,
        bits=bits,
        pad=pad,
        multiple=s["patch"],
        alpha=alpha,
        memory=memory,
    )
    patches = Patchify(frame.shape, s["patch"])
    tokens = patches.tokens
    network = Transformer(s["width"], s["depth"], s["heads"])

    def partition(layer: int) -> Tokens:
        turn, flip = layer // 4, bool(layer % 2)
        by = SPATIAL[turn % 3] if layer % 4 >= 2 and min(patches.grid) > 1 else "channels"
        return Tokens(
            patches.grid,
            by,
            size=tokens[1],
            flip=flip,
            seed=(seed * 1_000_003 + layer // 2) % 2**64,
        )

    body: list[Transform] = [patches]
    for layer in range(s["layers"]):
        body.append(Coupling(tokens, Affine(log_scale), network, partition(layer), frame.context))
    return frame.build(body)
