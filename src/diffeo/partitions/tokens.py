"""Patches of an image: some of the tokens, or half of every token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from ..core.errors import ConfigError, ShapeError
from ..core.settings import flag, one_of, whole
from ..core.shapes import Shape
from .base import Partition
from .indices import Indices

__all__ = ["Tokens"]

By = Literal["channels", "checkerboard", "rows", "columns"]


class Tokens(Partition):
    """Cuts tokens (N, D) that lie on a grid (h, w), N = hw: every other row, column or square, or
    half of the channels.

    `by="channels"` transforms a random half of every token's D entries, drawn by `seed`; the others
    transform the odd rows, the odd columns, or the tokens with i + j odd. `flip` exchanges the two
    parts. The partitions of Jet, Kolesnikov et al. 2024, arXiv:2412.15129. Raises `ConfigError` for
    another `by`, `ShapeError` where nothing would be transformed.

    >>> import torch, diffeo
    >>> rows = diffeo.partitions.Tokens((2, 2), by="rows")
    >>> rows.split(torch.arange(4.0).view(1, 4, 1))[1].flatten()
    tensor([2., 3.])
    """

    def __init__(
        self,
        grid: Sequence[int],
        by: By = "channels",
        size: int | None = None,
        flip: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        rows, columns = (whole(f"grid[{i}]", grid[i]) for i in range(2))
        self.grid, self.by, self.flip = (
            (rows, columns),
            one_of("by", by, get_args(By)),
            flag("flip", flip),
        )
        self.count = self.grid[0] * self.grid[1]
        if by == "channels":
            if size is None:
                raise ConfigError(
                    "tokens cut by channels need the size of a token: Tokens(grid, 'channels',"
                    " size=D)"
                )
            order = torch.randperm(
                whole("size", size), generator=torch.Generator().manual_seed(seed), device="cpu"
            ).tolist()
            chosen = order[: size // 2] if flip and size > 1 else order[size // 2 :]
        else:
            chosen = self._places(by)
        self.index = Indices(size if by == "channels" and size else self.count, chosen)

    def _places(self, by: str) -> list[int]:
        rules = {
            "rows": lambda i, j: i,
            "columns": lambda i, j: j,
            "checkerboard": lambda i, j: i + j,
        }
        places = [(i, j) for i in range(self.grid[0]) for j in range(self.grid[1])]
        return [k for k, (i, j) in enumerate(places) if rules[by](i, j) % 2 != int(self.flip)]

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.by != "channels":
            return self.index.split(x)
        a, b = self.index.split(x.transpose(1, 2))
        return a.transpose(1, 2), b.transpose(1, 2)

    def merge(self, a: Tensor, b: Tensor) -> Tensor:
        if self.by != "channels":
            return self.index.merge(a, b)
        return self.index.merge(a.transpose(1, 2), b.transpose(1, 2)).transpose(1, 2)

    def shapes(self, event_shape: Shape) -> tuple[Shape, Shape]:
        if len(event_shape) != 2 or event_shape[0] != self.count:
            raise ShapeError(f"this partition cuts {self.count} tokens (N, D), not {event_shape}")
        count, size = event_shape
        if self.by == "channels":
            (kept,), (moved,) = self.index.shapes((size,))
            return (count, kept), (count, moved)
        (kept,), (moved,) = self.index.shapes((count,))
        return (kept, size), (moved, size)

    def extra_repr(self) -> str:
        return f"grid={self.grid}, by={self.by!r}, flip={self.flip}"
