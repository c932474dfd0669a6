"""The black squares and the white ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..core.errors import ShapeError
from ..core.settings import flag
from ..core.shapes import Shape, as_shape
from .base import Partition

__all__ = ["Checkerboard"]


class Checkerboard(Partition):
    """Pixels with i + j even condition those with i + j odd, with `flip` the other way round.

    Each 2×2 block is folded into channels, so both parts are images (2C, ⌈H/2⌉, ⌈W/2⌉) and no work
    is thrown away on masked pixels. Where H or W is odd, the places without a pixel are zeros to
    the conditioner, and the map is the identity there. RealNVP, Dinh et al. 2016, arXiv:1605.08803.
    Raises `ShapeError` unless the event is (C, H, W) with at least two pixels.

    >>> import torch, diffeo
    >>> board = diffeo.partitions.Checkerboard((1, 2, 2))
    >>> board.split(torch.arange(4.0).view(1, 1, 2, 2))[1].flatten()
    tensor([1., 2.])
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, event_shape: Sequence[int], flip: bool = False) -> None:
        super().__init__()
        self.event_shape, self.flip = as_shape(event_shape), flag("flip", flip)
        if len(self.event_shape) != 3 or self.event_shape[1] * self.event_shape[2] < 2:
            raise ShapeError(
                f"Checkerboard cuts images (C, H, W) of at least 2 pixels, not {self.event_shape}"
            )
        channels, height, width = self.event_shape
        self.odd = (height % 2, width % 2)
        self.folded = (2 * channels, (height + 1) // 2, (width + 1) // 2)
        # Which rows and columns of the folded image hold pixels, for each of the two pixels of a
        # block that are transformed.
        of_rows, of_columns = (
            torch.tensor([[0], [1]]),
            torch.tensor([[0], [1]] if flip else [[1], [0]]),
        )
        rows, columns = (
            2 * torch.arange(self.folded[1]) + of_rows < height,
            2 * torch.arange(self.folded[2]) + of_columns < width,
        )
        self.register_buffer("rows", rows[:, None, :, None, None], persistent=False)
        self.register_buffer("columns", columns[:, None, None, :, None], persistent=False)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.shapes(tuple(x.shape[1:]))
        if any(self.odd):
            x = pad(x, (0, self.odd[1], 0, self.odd[0]))
        even = torch.cat([x[:, :, 0::2, 0::2], x[:, :, 1::2, 1::2]], 1)
        odd = torch.cat([x[:, :, 0::2, 1::2], x[:, :, 1::2, 0::2]], 1)
        return (odd, even) if self.flip else (even, odd)

    def merge(self, a: Tensor, b: Tensor) -> Tensor:
        if a.shape[1:] != self.folded or b.shape[1:] != self.folded:
            raise ShapeError(
                f"the parts of a checkerboard of {self.event_shape} are images of shape"
                f" {self.folded}"
            )
        (upper, lower), (right, left) = (
            part.chunk(2, 1) for part in ((b, a) if self.flip else (a, b))
        )
        blocks: Tensor = (
            torch.stack([upper, right, left, lower], 2)
            .unflatten(2, (2, 2))
            .permute(0, 1, 4, 2, 5, 3)
        )
        _, height, width = self.event_shape
        return blocks.flatten(4, 5).flatten(2, 3)[:, :, :height, :width]

    def shapes(self, event_shape: Shape) -> tuple[Shape, Shape]:
        if event_shape != self.event_shape:
            raise ShapeError(
                f"this checkerboard cuts images of shape {self.event_shape}, not {event_shape}"
            )
        return self.folded, self.folded

    def mask_params(self, params: Tensor) -> Tensor:
        if not any(self.odd):
            return params
        of_pixels: Tensor = params.unflatten(1, (2, -1)).where(
            self.rows & self.columns, params.new_zeros(())
        )
        return of_pixels.flatten(1, 2)

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}, flip={self.flip}"
