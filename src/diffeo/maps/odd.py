"""A map that commutes with a change of sign."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import ElementwiseMap

__all__ = ["Odd"]


@dataclass(frozen=True)
class Odd(ElementwiseMap):
    """y = sign(x) T(|x|) with T a map of [0, ∞) onto itself, such as a spline on [0, B]: T(−x) =
    −T(x).

    For densities that do not change when all signs do (Z2 symmetry): with a conditioner whose
    parameters are even in its input, the whole coupling commutes with x → −x.

    >>> import torch, diffeo
    >>> spline = diffeo.maps.Odd(diffeo.maps.RQSpline(bins=4, low=0.0, high=3.0, ends="free"))
    >>> y, _ = spline.forward(torch.tensor([-1.0, 1.0]), torch.ones(2, spline.num_params))
    >>> bool(y[0] == -y[1])
    True
    """

    map: ElementwiseMap

    @property
    def num_params(self) -> int:
        return self.map.num_params

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        y, logdet = self.map.forward(x.abs(), params)
        return torch.where(x < 0, -y, y), logdet

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        x, logdet = self.map.inverse(y.abs(), params)
        return torch.where(y < 0, -x, x), logdet

    def forward_by_row(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        y, logdet = self.map.forward_by_row(x.abs(), params)
        return torch.where(x < 0, -y, y), logdet

    def inverse_by_row(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        x, logdet = self.map.inverse_by_row(y.abs(), params)
        return torch.where(y < 0, -x, x), logdet

    def inverse_and_logdet_grad(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, logdet, grad = self.map.inverse_and_logdet_grad(y.abs(), params)
        return torch.where(y < 0, -x, x), logdet, torch.where(y < 0, -grad, grad)
