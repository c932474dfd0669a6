"""The shift: NICE's map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import ElementwiseMap

__all__ = ["Additive"]


@dataclass(frozen=True)
class Additive(ElementwiseMap):
    """y = x + t, log dy/dx = 0 (NICE, Dinh et al. 2014, arXiv:1410.8516).

    >>> import torch, diffeo
    >>> diffeo.maps.Additive().forward(torch.tensor([1.0]), torch.tensor([[2.0]]))
    (tensor([3.]), tensor([0.]))
    """

    @property
    def num_params(self) -> int:
        return 1

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return x + params[..., 0], torch.zeros_like(x)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return y - params[..., 0], torch.zeros_like(y)

    def inverse_and_logdet_grad(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return *self.inverse(y, params), torch.zeros_like(y)
