"""Any choice of entries."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.errors import ShapeError
from ..core.shapes import Shape
from .base import Partition

__all__ = ["Indices", "alternating", "random"]


class Indices(Partition):
    """The listed entries of a vector of `size` are transformed, the others condition them.

    Raises `ShapeError` unless the indices are distinct, within 0..size−1 and at least one.

    >>> import torch, diffeo
    >>> diffeo.partitions.Indices(3, transformed=[1]).split(torch.arange(3.0)[None])
    (tensor([[0., 2.]]), tensor([[1.]]))
    """

    a_index: Tensor
    b_index: Tensor
    order: Tensor

    def __init__(self, size: int, transformed: Sequence[int]) -> None:
        super().__init__()
        chosen = sorted(transformed)
        if not chosen or len(set(chosen)) != len(chosen) or not 0 <= chosen[0] <= chosen[-1] < size:
            raise ShapeError(f"transformed entries must be distinct numbers in 0..{size - 1}, at least one: {transformed}")
        self.size, self.transformed = size, chosen
        those = set(chosen)
        self.conditioning = [i for i in range(size) if i not in those]
        self.register_buffer("a_index", torch.tensor(self.conditioning, dtype=torch.long), persistent=False)
        self.register_buffer("b_index", torch.tensor(chosen, dtype=torch.long), persistent=False)
        order = sorted(range(size), key=[*self.conditioning, *chosen].__getitem__)
        self.register_buffer("order", torch.tensor(order, dtype=torch.long), persistent=False)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.index_select(1, self.a_index), x.index_select(1, self.b_index)

    def merge(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, b], dim=1).index_select(1, self.order)

    def shapes(self, event_shape: Shape) -> tuple[Shape, Shape]:
        if event_shape != (self.size,):
            raise ShapeError(f"this partition cuts vectors of shape ({self.size},), not {event_shape}")
        return (len(self.conditioning),), (len(self.transformed),)

    def extra_repr(self) -> str:
        return f"size={self.size}, transformed={self.transformed}"


def alternating(size: int, flip: bool = False) -> Indices:
    """Entries 1, 3, 5, ... are transformed, with `flip` entries 0, 2, 4, ...; one entry is always transformed."""
    return Indices(size, range(0 if flip or size == 1 else 1, size, 2))


def random(size: int, seed: int = 0) -> Indices:
    """A random half (⌈D/2⌉ entries) is transformed; the same `seed` makes the same choice everywhere."""
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed), device="cpu")
    return Indices(size, order[: (size + 1) // 2].tolist())
