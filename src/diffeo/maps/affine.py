"""Scale and shift: RealNVP's map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.settings import number
from ..kernels import Kernel, affine
from .base import ElementwiseMap

__all__ = ["Affine"]


@dataclass(frozen=True)
class Affine(ElementwiseMap):
    """y = x · exp(s) + t with s = b tanh(a / b), b = `log_scale`: scales lie within exp(±b) and are
    1 at a = 0.

    Parameters (a, t). RealNVP (Dinh et al. 2016, arXiv:1605.08803); the bound keeps deep stacks
    finite and invertible (Andrade 2024, arXiv:2402.16408). Raises `ConfigError` unless 0 <
    log_scale.

    >>> import torch, diffeo
    >>> diffeo.maps.Affine().forward(torch.tensor([3.0]), torch.tensor([[0.0, 1.0]]))
    (tensor([4.]), tensor([0.]))
    """

    log_scale: float = 2.0

    def __post_init__(self) -> None:
        number("log_scale", self.log_scale, above=0)

    @property
    def num_params(self) -> int:
        return 2

    def kernel(self, inverse: bool = False) -> Kernel:
        return affine(self.log_scale, inverse)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self.kernel()(x, params)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self.kernel(inverse=True)(y, params)

    def inverse_and_logdet_grad(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return *self.inverse(y, params), torch.zeros_like(y)
