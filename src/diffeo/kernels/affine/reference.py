"""Scale and shift in PyTorch, with analytic gradients: y = x exp(s) + t with s = b tanh(a / b)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.numerics import soft_clamp
from ...core.tracing import traced
from ..elementwise import Pair

__all__ = ["affine"]


def affine(x: Tensor, params: Tensor, log_scale: float, inverse: bool) -> Pair:
    """x (*S), params (*S, 2): (a, t) -> value and log-derivative (*S), b = `log_scale`."""
    if traced():
        # these differentiate the formulas by themselves
        return _affine(x, params, log_scale, inverse)
    y, logdet = _Affine.apply(x, params, log_scale, inverse)  # type: ignore[no-untyped-call]
    return y, logdet


def _affine(x: Tensor, params: Tensor, bound: float, inverse: bool) -> Pair:
    s = soft_clamp(params[..., 0], bound)
    if inverse:
        return (x - params[..., 1]) * (-s).exp(), -s
    return torch.addcmul(params[..., 1], x, s.exp()), s


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, params: Tensor, bound: float, inverse: bool) -> Pair:
        ctx.save_for_backward(x, params)
        ctx.bound, ctx.inverse = bound, inverse
        return _affine(x, params, bound, inverse)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (by_y, by_logdet), (x, params) = grads, ctx.saved_tensors
        squash = torch.tanh(params[..., 0] / ctx.bound)
        by_x = by_y * ((-squash if ctx.inverse else squash) * ctx.bound).exp()
        by_s = (
            by_x * (params[..., 1] - x) - by_logdet
            if ctx.inverse
            else torch.addcmul(by_logdet, by_x, x)
        )
        by_shift = -by_x if ctx.inverse else by_y
        return by_x, torch.stack([by_s * (1 - squash * squash), by_shift], -1), None, None
