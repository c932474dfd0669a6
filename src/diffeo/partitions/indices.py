"""Any choice of entries."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.errors import ShapeError
from ..core.shapes import Shape
from ..kernels import Order
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
            raise ShapeError(
                f"transformed entries must be distinct numbers in 0..{size - 1}, at least one:"
                f" {transformed}"
            )
        self.size, self.transformed = size, chosen
        those = set(chosen)
        self.conditioning = [i for i in range(size) if i not in those]
        self.register_buffer(
            "a_index", torch.tensor(self.conditioning, dtype=torch.long), persistent=False
        )
        self.register_buffer("b_index", torch.tensor(chosen, dtype=torch.long), persistent=False)
        self.turn = _turn(size, chosen)
        order = sorted(range(size), key=[*self.conditioning, *chosen].__getitem__)
        self.register_buffer("order", torch.tensor(order, dtype=torch.long), persistent=False)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape[1] != self.size:
            raise ShapeError(f"this partition cuts {self.size} entries, got {x.shape[1]}")
        if self.turn is not None:
            return x[:, 1 - self.turn :: 2], x[:, self.turn :: 2]
        return x.index_select(1, self.a_index), x.index_select(1, self.b_index)

    def merge(self, a: Tensor, b: Tensor) -> Tensor:
        if (a.shape[1], b.shape[1]) != (len(self.conditioning), len(self.transformed)):
            raise ShapeError(
                f"the parts of {self.size} entries have {len(self.conditioning)} and"
                f" {len(self.transformed)} of them"
            )
        if self.turn is not None:
            return torch.stack([b, a] if self.turn == 0 else [a, b], 2).flatten(1, 2)
        return torch.cat([a, b], dim=1).index_select(1, self.order)

    def shapes(self, event_shape: Shape) -> tuple[Shape, Shape]:
        if event_shape != (self.size,):
            raise ShapeError(
                f"this partition cuts vectors of shape ({self.size},), not {event_shape}"
            )
        return (len(self.conditioning),), (len(self.transformed),)

    def feature_order(self, event_shape: Shape) -> Order:
        return [*self.conditioning, *self.transformed]

    def extra_repr(self) -> str:
        return f"size={self.size}, transformed={self.transformed}"


def _turn(size: int, chosen: Sequence[int]) -> int | None:
    """0 or 1 when every other entry of an even number is transformed, from that one on: then both
    parts are views.
    """
    return next(
        (
            first
            for first in (0, 1)
            if size % 2 == 0 and list(chosen) == list(range(first, size, 2))
        ),
        None,
    )


def alternating(size: int, flip: bool = False) -> Indices:
    """Entries 1, 3, 5, ... are transformed, with `flip` entries 0, 2, 4, ...; one entry is always
    transformed.
    """
    return Indices(size, range(0 if flip or size == 1 else 1, size, 2))


def random(size: int, seed: int = 0) -> Indices:
    """A random half (⌈D/2⌉ entries) is transformed; the same `seed` makes the same choice
    everywhere.
    """
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed), device="cpu")
    return Indices(size, order[: (size + 1) // 2].tolist())
