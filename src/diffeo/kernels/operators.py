"""What PyTorch has to know of the compiled operators for `torch.compile` and `torch.export`: shapes and gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__: list[str] = []

NAMES = {"rq_spline": 8, "affine": 3, "logistic_mixture": 6}  # with how many arguments after the tensors


def _dense(x: Tensor) -> Tensor:
    """Pixels that cannot be walked as one axis are copied (sweep.h)."""
    fine = x.dim() < 4 or x.shape[2] == 1 or x.stride(2) == x.stride(3) * x.shape[3]
    return x if fine else x.contiguous()


def _shapes(x: Tensor, params: Tensor, *settings: Any) -> tuple[Tensor, Tensor]:
    y = torch.empty_like(_dense(x))
    return y, x.new_empty(x.shape[0]) if settings[-1] else torch.empty_like(y)


def _backward_shapes(x: Tensor, params: Tensor, grad_y: Tensor, grad_logdet: Tensor, *settings: Any) -> tuple[Tensor, Tensor]:
    dense = params if _dense(params[..., 0]).stride() == params[..., 0].stride() else params.contiguous()
    return torch.empty_like(_dense(x)), torch.empty_like(dense)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, params, *ctx.settings = inputs
    ctx.save_for_backward(x, params)


def _register(name: str, count: int) -> None:
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        op = getattr(torch.ops.diffeo, f"{name}_backward")
        return *op(*ctx.saved_tensors, *grads, *ctx.settings), *[None] * count

    torch.library.register_fake(f"diffeo::{name}", _shapes)
    torch.library.register_fake(f"diffeo::{name}_backward", _backward_shapes)
    torch.library.register_autograd(f"diffeo::{name}", backward, setup_context=_keep)


for _name, _count in NAMES.items():
    _register(_name, _count)
torch.library.register_fake("diffeo::rq_spline_bend", lambda y, *_: torch.empty_like(_dense(y)))
