"""Different distributions for different entries of a vector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..core.errors import ShapeError
from .base import Base

__all__ = ["Product"]


class Product(Base):
    """log p(z) = Σ_i log p_i(z[indices_i]): each part has a base and the entries of the vector that
    it is for.

    Raises `ShapeError` unless every entry of the vector belongs to exactly one part.

    >>> import diffeo
    >>> base = diffeo.bases.Product(
    ...     [([0, 2], diffeo.bases.Normal(2)), ([1], diffeo.bases.Uniform(1, -5, 5))])
    >>> base.sample((4,)).shape
    torch.Size([4, 3])
    """

    order: Tensor

    def __init__(self, parts: Sequence[tuple[Sequence[int], Base]]) -> None:
        order = [i for indices, _ in parts for i in indices]
        if sorted(order) != list(range(len(order))):
            raise ShapeError(
                f"the parts must share out the entries 0..{len(order) - 1} once each, got {order}"
            )
        if any(part.event_shape != (len(indices),) for indices, part in parts):
            raise ShapeError(
                "each part must be a distribution over as many entries as it has indices"
            )
        super().__init__(len(order))
        self.parts = nn.ModuleList(part for _, part in parts)
        self.indices = [tuple(indices) for indices, _ in parts]
        self.sizes = [len(indices) for indices, _ in parts]
        self.register_buffer("order", torch.tensor(order, dtype=torch.long), persistent=False)

    @property
    def bounded(self) -> frozenset[int]:
        pairs = zip(self.indices, self.parts, strict=True)
        return frozenset(indices[k] for indices, part in pairs for k in part.bounded)  # type: ignore[union-attr]

    def draw(self, n: int, temperature: float, generator: torch.Generator | None) -> Tensor:
        drawn = torch.cat([part.draw(n, temperature, generator) for part in self.parts], dim=1)  # type: ignore[operator]
        return drawn[:, self.order.argsort()]

    def density(self, x: Tensor, temperature: float = 1.0) -> Tensor:
        pieces = x[:, self.order].split(self.sizes, dim=1)
        pairs = zip(self.parts, pieces, strict=True)
        terms = [part.density(piece, temperature) for part, piece in pairs]  # type: ignore[operator]
        return torch.stack(terms).sum(0)
