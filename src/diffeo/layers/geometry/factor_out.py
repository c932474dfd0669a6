"""Multi-scale: part of the channels is done, the rest goes on."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from ...core.errors import ShapeError
from ...core.shapes import Shape
from ...core.transform import Transform
from ..fixed_shape import FixedShape

__all__ = ["FactorOut"]


class FactorOut(FixedShape):
    """z = [x_B, f(x_A)], flattened: the last ⌈C/2⌉ channels of x (C, H, W) are latents already,
    `inner` = f does the rest.

    log|det| is that of f. The multi-scale architecture of RealNVP (Dinh et al. 2016,
    arXiv:1605.08803). A coupling before it that transforms x_B given x_A is Glow's learned prior of
    the split. Raises `ShapeError` unless C ≥ 2.

    >>> import torch, diffeo
    >>> deeper = diffeo.Chain([diffeo.layers.Squeeze(), diffeo.layers.ActNorm((8, 4, 4))])
    >>> diffeo.layers.FactorOut((4, 8, 8), deeper).parts((4, 8, 8))
    ((2, 8, 8), (8, 4, 4))
    """

    def __init__(self, event_shape: Sequence[int], inner: Transform) -> None:
        super().__init__(event_shape)
        if len(self.event_shape) < 2 or self.event_shape[0] < 2:
            raise ShapeError(
                "channels can be factored out of events (C, ...) with at least 2 of them, not"
                f" {self.event_shape}"
            )
        channels, *rest = self.event_shape
        self.kept: Shape = (channels // 2, *rest)
        self.done: Shape = (channels - channels // 2, *rest)
        self.inner, self.exact, self.context_shape = inner, inner.exact, inner.context_shape
        self.latent = inner.forward_shape(self.kept)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        kept, done = x[:, : self.kept[0]], x[:, self.kept[0] :]
        z, logdet = self.inner(kept, context)
        return torch.cat([done.flatten(1), z.flatten(1)], 1), logdet

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(y, (prod(self.event_shape),))
        size = prod(self.done)
        kept, logdet = self.inner.inverse(y[:, size:].reshape(-1, *self.latent), context)
        return torch.cat([kept, y[:, :size].reshape(-1, *self.done)], 1), logdet

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        self.check(x)
        self.inner.initialize(x[:, : self.kept[0]], context)

    def parts(self, shape: Shape) -> tuple[Shape, ...]:
        return (self.done, *self.inner.parts(self.kept))

    def forward_shape(self, shape: Shape) -> Shape:
        return (prod(super().forward_shape(shape)),)

    def inverse_shape(self, shape: Shape) -> Shape:
        if shape != (prod(self.event_shape),):
            raise ShapeError(f"a vector of {prod(self.event_shape)} entries is needed, got {shape}")
        return self.event_shape
