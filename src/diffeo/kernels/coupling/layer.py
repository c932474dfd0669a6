"""Coupling layers as the operator sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ...core.shapes import Shape
from ..elementwise import Kernel

__all__ = ["CouplingLayer", "Order", "Stack"]

# entries of a vector or channels of an image: those that condition, then those that are transformed
Order = list[int]


@dataclass(frozen=True)
class CouplingLayer:
    """A coupling layer: its map, which features are which, and what makes the map's parameters:
    linear layers (of vectors) or convolutions (of images) with ReLUs between."""

    kernel: Kernel
    order: Order
    weights: list[Tensor]
    biases: list[Tensor]
    event_shape: Shape
    context_shape: Shape | None

    def reads(self, x: Tensor, context: Tensor | None) -> bool:
        """Have both the shapes that it was built for?"""
        given = None if context is None else context.shape[1:]
        return x.shape[1:] == self.event_shape and given == self.context_shape

    def joins(self, other: CouplingLayer) -> bool:
        """Can both be part of one call?"""
        mine, theirs = self.kernel, other.kernel
        return (mine.name, mine.settings, len(self.weights)) == (
            theirs.name,
            theirs.settings,
            len(other.weights),
        )


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Layers that join, one after the other: their orders, weights and biases side by side."""

    kernel: Kernel
    orders: Sequence[int]
    weights: Sequence[Tensor]
    biases: Sequence[Tensor]

    @staticmethod
    def of(layers: Sequence[CouplingLayer]) -> Stack:
        """The stack of at least one layer."""
        return Stack(
            kernel=layers[0].kernel,
            orders=[feature for layer in layers for feature in layer.order],
            weights=[weight for layer in layers for weight in layer.weights],
            biases=[bias for layer in layers for bias in layer.biases],
        )
