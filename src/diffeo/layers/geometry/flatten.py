"""Any event as a vector."""

from __future__ import annotations

from math import prod

from torch import Tensor

from ...core.errors import ShapeError
from ...core.shapes import Shape
from ..fixed_shape import FixedShape

__all__ = ["Flatten"]


class Flatten(FixedShape):
    """(B, *event) <-> (B, D), log|det| = 0.

    >>> import torch, diffeo
    >>> diffeo.layers.Flatten((1, 28, 28))(torch.zeros(5, 1, 28, 28))[0].shape
    torch.Size([5, 784])
    """

    any_dtype = True

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        return x.flatten(1), x.new_zeros(x.shape[0])

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(y, (prod(self.event_shape),))
        return y.unflatten(1, self.event_shape), y.new_zeros(y.shape[0])

    def forward_shape(self, shape: Shape) -> Shape:
        return (prod(super().forward_shape(shape)),)

    def inverse_shape(self, shape: Shape) -> Shape:
        if shape != (prod(self.event_shape),):
            raise ShapeError(f"a vector of {prod(self.event_shape)} entries is needed, got {shape}")
        return self.event_shape
