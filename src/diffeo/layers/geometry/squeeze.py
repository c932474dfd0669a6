"""Space into channels."""

from __future__ import annotations

from torch import Tensor

from ...core.errors import ShapeError
from ...core.settings import whole
from ...core.shapes import Shape
from ...core.transform import Transform

__all__ = ["Squeeze"]


class Squeeze(Transform):
    """(B, C, H, W) <-> (B, Cf², H/f, W/f): every f×f block of pixels becomes channels, log|det| =
    0.

    RealNVP, Dinh et al. 2016, arXiv:1605.08803. Raises `ShapeError` unless f divides H and W.

    >>> import torch, diffeo
    >>> diffeo.layers.Squeeze()(torch.zeros(5, 3, 28, 28))[0].shape
    torch.Size([5, 12, 14, 14])
    """

    any_dtype = True

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.factor = whole("factor", factor)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.forward_shape(tuple(x.shape[1:]))
        batch, channels, height, width = x.shape
        f = self.factor
        blocks = x.reshape(batch, channels, height // f, f, width // f, f).permute(0, 2, 4, 1, 3, 5)
        # In memory, channels come last from here on: convolutions on CPUs are up to three times as
        # fast.
        y = blocks.reshape(batch, height // f, width // f, channels * f * f).movedim(-1, 1)
        return y, x.new_zeros(x.shape[0])

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.inverse_shape(tuple(y.shape[1:]))
        batch, channels, height, width = y.shape
        f = self.factor
        blocks = (
            y.movedim(1, -1)
            .reshape(batch, height, width, channels // f**2, f, f)
            .permute(0, 3, 1, 4, 2, 5)
        )
        return blocks.reshape(batch, channels // f**2, height * f, width * f), y.new_zeros(
            y.shape[0]
        )

    def forward_shape(self, shape: Shape) -> Shape:
        f = self.factor
        if len(shape) != 3 or shape[1] % f or shape[2] % f:
            raise ShapeError(
                f"height and width of an image (C, H, W) must be multiples of {f}, got {shape}:"
                " pad it"
            )
        return (shape[0] * f * f, shape[1] // f, shape[2] // f)

    def inverse_shape(self, shape: Shape) -> Shape:
        f = self.factor
        if len(shape) != 3 or shape[0] % (f * f):
            raise ShapeError(
                f"an image (C, H, W) with a multiple of {f * f} channels is needed, got {shape}"
            )
        return (shape[0] // (f * f), shape[1] * f, shape[2] * f)

    def extra_repr(self) -> str:
        return f"factor={self.factor}"
