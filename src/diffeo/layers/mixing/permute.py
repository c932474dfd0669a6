"""Entries in another order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...core.errors import ShapeError
from ..fixed_shape import FixedShape

__all__ = ["Permute"]


class Permute(FixedShape):
    """y_i = x_{order[i]} along the first axis of the event, log|det| = 0.

    Raises `ShapeError` unless `order` is a permutation of 0..D−1. `Permute.random(6, seed=1)` draws
    one.

    >>> import torch, diffeo
    >>> diffeo.layers.Permute([2, 0, 1])(torch.tensor([[10.0, 11.0, 12.0]]))[0]
    tensor([[12., 10., 11.]])
    """

    order: Tensor
    back: Tensor

    def __init__(
        self, order: Sequence[int], event_shape: int | Sequence[int] | None = None
    ) -> None:
        super().__init__(len(order) if event_shape is None else event_shape)
        if sorted(order) != list(range(self.event_shape[0])):
            raise ShapeError(
                f"order must be a permutation of 0..{self.event_shape[0] - 1}, got {list(order)}"
            )
        index = torch.tensor(list(order), dtype=torch.long, device="cpu")
        self.register_buffer("order", index, persistent=False)
        self.register_buffer("back", index.argsort(), persistent=False)

    @classmethod
    def random(cls, size: int, seed: int = 0) -> Permute:
        """A random permutation of a vector; the same seed draws the same one everywhere."""
        generator = torch.Generator().manual_seed(seed)
        return cls(torch.randperm(size, generator=generator, device="cpu").tolist())

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        return x.index_select(1, self.order), x.new_zeros(x.shape[0])

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(y)
        return y.index_select(1, self.back), y.new_zeros(y.shape[0])
