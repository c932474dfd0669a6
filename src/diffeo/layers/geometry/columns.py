"""A transform for some entries of a vector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from ...core.errors import ShapeError
from ...core.shapes import Shape
from ...core.transform import Transform

__all__ = ["Columns"]


class Columns(Transform):
    """Applies a transform to the listed entries of a vector and leaves the others as they are.

    Raises `ShapeError` when an index is repeated or negative, or when the transform changes the
    number of entries.

    >>> import torch, diffeo
    >>> layer = diffeo.layers.Columns([1], diffeo.layers.Positive())
    >>> layer(torch.tensor([[5.0, 1.0]]))[0]
    tensor([[5., 0.]])
    """

    index: Tensor

    def __init__(self, indices: Sequence[int], transform: Transform) -> None:
        super().__init__()
        self.indices = tuple(indices)
        self.transform: Transform = transform
        self.exact, self.context_shape = transform.exact, transform.context_shape
        self.any_dtype, self.settles_dtype = transform.any_dtype, transform.settles_dtype
        if not indices or len(set(indices)) != len(indices) or min(indices) < 0:
            raise ShapeError(
                f"indices must be distinct and not negative, at least one: {list(indices)}"
            )
        if transform.forward_shape((len(indices),)) != (len(indices),):
            raise ShapeError(f"{type(transform).__name__} changes the number of entries")
        self.register_buffer(
            "index", torch.tensor(self.indices, dtype=torch.long), persistent=False
        )

    def support_of_columns(self) -> dict[int, Constraint] | None:
        """What the listed entries may be; None where the transform does not say."""
        entry = self.transform.support
        return None if entry is None else dict.fromkeys(self.indices, entry)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.forward_shape(tuple(x.shape[1:]))
        y, logdet = self.transform(x.index_select(1, self.index), context)
        return x.to(y.dtype).index_copy(1, self.index, y), logdet

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.forward_shape(tuple(y.shape[1:]))
        x, logdet = self.transform.inverse(y.index_select(1, self.index), context)
        return y.to(x.dtype).index_copy(1, self.index, x), logdet

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        self.transform.initialize(x.index_select(1, self.index), context)

    def forward_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1 or max(self.indices) >= shape[0]:
            raise ShapeError(
                f"entries {list(self.indices)} do not exist in events of shape {shape}"
            )
        return shape

    def inverse_shape(self, shape: Shape) -> Shape:
        return self.forward_shape(shape)

    def extra_repr(self) -> str:
        return f"indices={list(self.indices)}"
