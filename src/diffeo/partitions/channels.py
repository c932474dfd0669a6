"""First half of the channels, second half."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.errors import ShapeError
from ..core.settings import flag
from ..core.shapes import Shape
from ..kernels import Order
from .base import Partition

__all__ = ["Channels"]


class Channels(Partition):
    """An image's first ⌊C/2⌋ channels condition the rest; with `flip` the last ⌈C/2⌉ condition the
    first.

    Both parts are views. RealNVP's channel-wise mask (Dinh et al. 2016, arXiv:1605.08803) and
    Glow's split.

    >>> import torch, diffeo
    >>> a, b = diffeo.partitions.Channels().split(torch.zeros(5, 3, 4, 4))
    >>> a.shape, b.shape
    (torch.Size([5, 1, 4, 4]), torch.Size([5, 2, 4, 4]))
    """

    def __init__(self, flip: bool = False) -> None:
        super().__init__()
        self.flip = flag("flip", flip)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        cut = x.shape[1] // 2
        first, second = x[:, :cut], x[:, cut:]
        return (second, first) if self.flip else (first, second)

    def merge(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([b, a] if self.flip else [a, b], dim=1)

    def shapes(self, event_shape: Shape) -> tuple[Shape, Shape]:
        if len(event_shape) != 3 or event_shape[0] < 2:
            mend = (
                "put layers.Squeeze() before it or use Checkerboard"
                if len(event_shape) == 3
                else "vectors are for Halves"
            )
            raise ShapeError(
                f"Channels cuts images (C, H, W) of at least 2 channels, not {event_shape}: {mend}"
            )
        channels, *grid = event_shape
        first, second = (channels // 2, *grid), (channels - channels // 2, *grid)
        return (second, first) if self.flip else (first, second)

    def feature_order(self, event_shape: Shape) -> Order:
        size, half = event_shape[0], event_shape[0] // 2
        return [*range(half, size), *range(half)] if self.flip else [*range(size)]

    def extra_repr(self) -> str:
        return f"flip={self.flip}"
