"""What PyTorch has to know of the compiled operators for `torch.compile` and `torch.export`: shapes and gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .few_inputs import FEW  # up to which a layer's gradient is transposed, here as in native/network.h

__all__: list[str] = []


NAMES = {"rq_spline": 8, "affine": 3, "logistic_mixture": 6}  # with how many arguments after the tensors
COUPLINGS = {"rq_spline": 9, "affine": 4}  # likewise, of whole layers


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


def _coupling_shapes(
    x: Tensor, context: Tensor | None, weights: list[Tensor], biases: list[Tensor], cuts: list[int], *settings: Any
) -> tuple[Tensor, Tensor, Tensor]:
    between = (len(cuts) // 3 - 1) * x.shape[1]
    kept = x.shape[0] * (sum(w.shape[0] for w in weights) + between) if settings[-1] else 0
    return x.new_empty(x.shape), x.new_empty(x.shape[0]), x.new_empty(kept)


def _coupling_backward_shapes(
    grad_y: Tensor,
    grad_logdet: Tensor,
    x: Tensor,
    context: Tensor | None,
    weights: list[Tensor],
    biases: list[Tensor],
    *rest: Any,
) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    grad_context = x.new_empty(x.shape[0], 0 if context is None else context.shape[1])
    if not rest[-1]:
        return x.new_empty(x.shape), grad_context, [], []
    by_weights = [w.new_empty(w.shape[::-1]).t() if w.shape[1] <= FEW else w.new_empty(w.shape) for w in weights]
    return x.new_empty(x.shape), grad_context, by_weights, [b.new_empty(b.shape) for b in biases]


def _keep_coupling(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, context, weights, biases, ctx.cuts, *ctx.settings, _ = inputs
    ctx.half = len(weights)
    ctx.save_for_backward(x, context, output[2], *weights, *biases)


def _register_coupling(name: str, count: int) -> None:
    def backward(ctx: Any, grad_y: Tensor, grad_logdet: Tensor, _: Tensor) -> tuple[Any, ...]:
        x, context, kept, *layers = ctx.saved_tensors
        op = getattr(torch.ops.diffeo, f"{name}_coupling_backward")
        given = (x, context, layers[: ctx.half], layers[ctx.half :])
        grad_x, grad_context, weights, biases = op(grad_y, grad_logdet, *given, kept, ctx.cuts, *ctx.settings, True, True)
        return grad_x, grad_context if context is not None else None, weights, biases, *[None] * count

    torch.library.register_fake(f"diffeo::{name}_coupling", _coupling_shapes)
    torch.library.register_fake(f"diffeo::{name}_coupling_backward", _coupling_backward_shapes)
    torch.library.register_autograd(f"diffeo::{name}_coupling", backward, setup_context=_keep_coupling)


for _name, _count in COUPLINGS.items():
    _register_coupling(_name, _count)
for _name, _count in NAMES.items():
    _register(_name, _count)
torch.library.register_fake("diffeo::rq_spline_bend", lambda y, *_: torch.empty_like(_dense(y)))
