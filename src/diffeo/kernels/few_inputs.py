"""A linear layer of few inputs, whose gradients are products of odd shapes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.tracing import traced

__all__ = ["few_inputs"]

# columns up to which a product is several times as fast when it is written the other way round
FEW = 32


def few_inputs(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x Wᵀ + b for x (B, N), W (M, N), with the gradients W g and gᵀ x transposed where N is small.

    BLAS libraries work through the rows of a result many columns at a time, and such results have
    few columns: for N = 8, M = 128 and 1,024 rows each of the two takes a quarter of the time as
    (Wᵀ gᵀ)ᵀ and (xᵀ g)ᵀ.
    """
    if (
        traced()
        or not torch.is_grad_enabled()
        or x.shape[-1] > FEW
        or x.dim() != 2
        or torch.is_autocast_enabled(x.device.type)
    ):
        return F.linear(x, weight, bias)
    out: Tensor = _FewInputs.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return out


class _FewInputs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.addmm(bias, x, weight.t())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (x, weight), need = grads, ctx.saved_tensors, ctx.needs_input_grad
        return (
            (weight.t() @ grad.t()).t() if need[0] else None,
            (x.t() @ grad).t() if need[1] else None,
            grad.sum(0) if need[2] else None,
        )
