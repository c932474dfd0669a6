"""Maps one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .base import ElementwiseMap

__all__ = ["Composed"]


@dataclass(frozen=True)
class Composed(ElementwiseMap):
    """y = T_n(… T_1(x)), its parameters those of T_1, T_2, … side by side, its log-derivative their
    sum.

    A spline behind an affine map, for instance, bends what lies within its box wherever the box is
    moved to.

    >>> import torch, diffeo
    >>> both = diffeo.maps.Composed((diffeo.maps.Affine(), diffeo.maps.RQSpline(bins=4)))
    >>> both.num_params, both.forward(torch.zeros(1), torch.zeros(1, 13))
    (13, (tensor([0.]), tensor([0.])))
    """

    maps: Sequence[ElementwiseMap]

    @property
    def num_params(self) -> int:
        return sum(map.num_params for map in self.maps)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.zeros_like(x)
        for map, own in zip(self.maps, self._own(params), strict=True):
            x, logdet = map.forward(x, own)
            total = total + logdet
        return x, total

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.zeros_like(y)
        for map, own in reversed(list(zip(self.maps, self._own(params), strict=True))):
            y, logdet = map.inverse(y, own)
            total = total + logdet
        return y, total

    def forward_by_row(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        total: Tensor | float = 0.0
        for map, own in zip(self.maps, self._own(params), strict=True):
            x, logdet = map.forward_by_row(x, own)
            total = logdet + total
        return x, torch.as_tensor(total)

    def inverse_by_row(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        total: Tensor | float = 0.0
        for map, own in reversed(list(zip(self.maps, self._own(params), strict=True))):
            y, logdet = map.inverse_by_row(y, own)
            total = logdet + total
        return y, torch.as_tensor(total)

    def inverse_and_logdet_grad(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        total = torch.zeros_like(y)
        grad = torch.zeros_like(y)
        for map, own in reversed(list(zip(self.maps, self._own(params), strict=True))):
            slope = total.detach().exp()  # of what this map is given, by y
            y, logdet, own_grad = map.inverse_and_logdet_grad(y, own)
            total = total + logdet
            grad = torch.addcmul(grad, own_grad, slope)
        return y, total, grad

    def _own(self, params: Tensor) -> Sequence[Tensor]:
        parts: tuple[Tensor, ...] = params.split([map.num_params for map in self.maps], -1)
        return parts
