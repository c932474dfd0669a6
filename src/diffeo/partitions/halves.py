"""First half, second half."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.errors import ShapeError
from ..core.settings import flag
from ..core.shapes import Shape
from ..kernels import Order
from .base import Partition

__all__ = ["Halves"]


class Halves(Partition):
    """A vector's first ⌊D/2⌋ entries condition the rest; with `flip` the last ⌈D/2⌉ condition the
    first.

    Both parts are views. A vector of one entry is transformed whole, conditioned by nothing (but
    the context), with or without `flip`.

    >>> import torch, diffeo
    >>> diffeo.partitions.Halves().split(torch.arange(3.0)[None])
    (tensor([[0.]]), tensor([[1., 2.]]))
    """

    def __init__(self, flip: bool = False) -> None:
        super().__init__()
        self.flip = flag("flip", flip)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        cut = x.shape[1] // 2
        first, second = x.split([cut, x.shape[1] - cut], 1)
        return (second, first) if self.flip and cut else (first, second)

    def merge(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([b, a] if self.flip and a.shape[1] else [a, b], dim=1)

    def shapes(self, event_shape: Shape) -> tuple[Shape, Shape]:
        if len(event_shape) != 1 or event_shape[0] < 1:
            raise ShapeError(
                f"Halves cuts vectors (D,), not {event_shape}: put layers.Flatten({event_shape})"
                " before it"
            )
        size = event_shape[0]
        cut = size // 2
        first, second = (cut,), (size - cut,)
        return (second, first) if self.flip and cut else (first, second)

    def feature_order(self, event_shape: Shape) -> Order:
        size, half = event_shape[0], event_shape[0] // 2
        return [*range(half, size), *range(half)] if self.flip and half else [*range(size)]

    def extra_repr(self) -> str:
        return f"flip={self.flip}"
