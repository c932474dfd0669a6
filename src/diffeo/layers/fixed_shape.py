"""What layers for one event shape have in common."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.errors import ShapeError
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

    def inverse_shape(self, shape: Shape) -> Shape:
        return self.forward_shape(shape)

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}"
