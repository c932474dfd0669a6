"""An image as a sequence of patches."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...core.errors import ShapeError
from ...core.settings import whole
from ...core.shapes import Shape
from ..fixed_shape import FixedShape

__all__ = ["Patchify"]


class Patchify(FixedShape):
    """(B, C, H, W) <-> (B, N, D): N = HW/p² tokens in row order, each the D = Cp² values of a p×p
    patch; log|det| = 0.

    Jet, Kolesnikov et al. 2024, arXiv:2412.15129. Raises `ShapeError` unless p divides H and W.

    >>> import torch, diffeo
    >>> diffeo.layers.Patchify((3, 8, 12), patch=4)(torch.zeros(5, 3, 8, 12))[0].shape
    torch.Size([5, 6, 48])
    """

    def __init__(self, event_shape: Sequence[int], patch: int) -> None:
        super().__init__(event_shape)
        self.patch = whole("patch", patch)
        if len(self.event_shape) != 3 or self.event_shape[1] % patch or self.event_shape[2] % patch:
            raise ShapeError(
                f"patches of {patch}×{patch} do not tile an event {self.event_shape}: (C, H, W) is"
                " needed"
            )
        channels, height, width = self.event_shape
        self.grid = (height // patch, width // patch)
        self.tokens: Shape = (self.grid[0] * self.grid[1], channels * patch * patch)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        (rows, columns), p = self.grid, self.patch
        blocks = x.reshape(x.shape[0], self.event_shape[0], rows, p, columns, p).permute(
            0, 2, 4, 1, 3, 5
        )
        return blocks.reshape(x.shape[0], *self.tokens), x.new_zeros(x.shape[0])

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(y, self.tokens)
        (rows, columns), p = self.grid, self.patch
        blocks = y.reshape(y.shape[0], rows, columns, self.event_shape[0], p, p).permute(
            0, 3, 1, 4, 2, 5
        )
        return blocks.reshape(y.shape[0], *self.event_shape), y.new_zeros(y.shape[0])

    def forward_shape(self, shape: Shape) -> Shape:
        super().forward_shape(shape)
        return self.tokens

    def inverse_shape(self, shape: Shape) -> Shape:
        if shape != self.tokens:
            raise ShapeError(f"tokens of shape {self.tokens} are needed, got {shape}")
        return self.event_shape
