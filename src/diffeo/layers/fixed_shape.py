"""What layers for one event shape have in common."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..core.errors import ContextError, ShapeError
from ..core.shapes import Shape, as_shape
from ..core.transform import Transform

__all__ = ["FixedShape"]


class FixedShape(Transform):
    """A transform between events of one given shape; abstract."""

    def __init__(self, event_shape: int | Sequence[int]) -> None:
        super().__init__()
        self.event_shape = as_shape(event_shape)

    def forward_shape(self, shape: Shape) -> Shape:
        if shape != self.event_shape:
            raise ShapeError(f"built for events of shape {self.event_shape}, got {shape}")
        return shape

    def check(self, x: Tensor, shape: Shape | None = None) -> None:
        """Raise `ShapeError` unless x is (B, *shape), by default (B, *event): each direction
        asks first.

        A flow's rows have the right shape; a layer used alone must not broadcast, cut or resize
        others.
        """
        wanted = self.event_shape if shape is None else shape
        if x.shape[1:] != wanted:
            raise ShapeError(
                f"{type(self).__name__} takes rows (B, *{wanted}), got {tuple(x.shape)}"
            )

    def check_pair(self, x: Tensor, context: Tensor | None) -> None:
        """The same for the rows and for a context that is read; raises `ContextError` unless it is
        (B, *context).
        """
        self.check(x)
        if self.context_shape is None:
            return
        if context is None or context.shape[1:] != self.context_shape:
            given = "none" if context is None else str(tuple(context.shape))
            raise ContextError(
                f"{type(self).__name__} reads contexts (B, *{self.context_shape}), got {given}"
            )

    def inverse_shape(self, shape: Shape) -> Shape:
        return self.forward_shape(shape)

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}"
