"""An elementwise map with parameters of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...core.numerics import full_precision
from ...maps import ElementwiseMap
from ..fixed_shape import FixedShape

__all__ = ["Pointwise"]


class Pointwise(FixedShape):
    """y_i = T(x_i; θ_i) with learned θ of shape (*event, P): the unconditional lift of an
    elementwise map.

    >>> import torch, diffeo
    >>> layer = diffeo.layers.Pointwise((2,), diffeo.maps.RQSpline())
    >>> torch.equal(layer(torch.zeros(1, 2))[1], torch.zeros(1))      # starts as the identity
    True
    """

    def __init__(self, event_shape: int | Sequence[int], map: ElementwiseMap) -> None:
        super().__init__(event_shape)
        self.map = map
        self.params = nn.Parameter(torch.zeros(*self.event_shape, map.num_params))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        return self.map.forward_by_row(
            full_precision(x), self.params.expand(x.shape[0], *self.params.shape)
        )

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(y)
        return self.map.inverse_by_row(
            full_precision(y), self.params.expand(y.shape[0], *self.params.shape)
        )

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}, map={self.map}"
