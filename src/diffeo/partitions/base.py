"""The contract of partitions."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from ..core.shapes import Shape
from ..kernels import Order

__all__ = ["Partition"]


class Partition(nn.Module, ABC):
    """How an event is cut into the part that conditions and the part that is transformed;
    `merge(*split(x)) == x`.
    """

    @abstractmethod
    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, *event) -> (conditioning part, transformed part)."""

    @abstractmethod
    def merge(self, a: Tensor, b: Tensor) -> Tensor:
        """Put the two parts back together."""

    @abstractmethod
    def shapes(self, event_shape: Shape) -> tuple[Shape, Shape]:
        """Event shapes of the two parts; raises `ShapeError` when it cannot cut this event."""

    def feature_order(self, event_shape: Shape) -> Order | None:
        """Where both parts are entries of a vector or channels of an image: those that condition,
        then those transformed. None for other partitions, and always where `mask_params` does
        something."""
        return None

    def mask_params(self, params: Tensor) -> Tensor:
        """Zero the parameters of places in the transformed part that hold no entry: zero parameters
        are the identity.
        """
        return params
