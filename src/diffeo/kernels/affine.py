"""Scale and shift."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.numerics import soft_clamp
from .fused import Kernel, Pair

__all__ = ["affine"]


def affine(log_scale: float, inverse: bool = False) -> Kernel:
    """y = x exp(s) + t with s = b tanh(a / b), b = `log_scale`, params (a, t), or its inverse; log-det ±s."""

    def twin(x: Tensor, params: Tensor) -> Pair:
        return _twin(x, params, log_scale, inverse)

    return Kernel("affine", (log_scale, inverse), twin, couples=True)


def _twin(x: Tensor, params: Tensor, bound: float, inverse: bool) -> Pair:
    s = soft_clamp(params[..., 0], bound)
    if inverse:
        return (x - params[..., 1]) * (-s).exp(), -s
    return torch.addcmul(params[..., 1], x, s.exp()), s
