"""What PyTorch has to know of the compiled operators for `torch.compile` and `torch.export`: shapes
and gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["register"]

Grads = tuple[Any, ...]


def _dense(x: Tensor) -> Tensor:
    """Pixels that cannot be walked as one axis are copied (native/operators.cpp)."""
    fine = x.dim() < 4 or x.shape[2] == 1 or x.stride(2) == x.stride(3) * x.shape[3]
    return x if fine else x.contiguous()


def _elementwise(
    x: Tensor, params: Tensor, map: str, settings: list[float], by_row: bool
) -> tuple[Tensor, Tensor]:
    y = _dense(torch.empty_like(_dense(x)))
    return y, x.new_empty(x.shape[0]) if by_row else torch.empty_like(y)


def _elementwise_backward(
    grad_y: Tensor, grad_logdet: Tensor, x: Tensor, params: Tensor, *_: Any
) -> tuple[Tensor, Tensor]:
    return _dense(torch.empty_like(_dense(x))), _dense_params(
        torch.empty_like(_dense_params(params))
    )


def _dense_params(params: Tensor) -> Tensor:
    return (
        params
        if _dense(params[..., 0]).stride() == params[..., 0].stride()
        else params.contiguous()
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, params, *ctx.rest = inputs
    ctx.save_for_backward(x, params)


def _gradients(ctx: Any, *grads: Tensor) -> Grads:
    return (
        *torch.ops.diffeo.elementwise_backward(*grads, *ctx.saved_tensors, *ctx.rest),
        None,
        None,
        None,
    )


def _coupling(x: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(x.shape[0])


def _coupling_backward(
    grad_y: Tensor,
    grad_logdet: Tensor,
    x: Tensor,
    context: Tensor | None,
    weights: list[Tensor],
    biases: list[Tensor],
    *rest: Any,
) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    by_context = x.new_empty(x.shape[0], 0 if context is None else context.shape[1])
    weights, biases = (weights, biases) if rest[-1] else ([], [])
    return (
        torch.empty_like(x),
        by_context,
        [_like(w) for w in weights],
        [b.new_empty(b.shape) for b in biases],
    )


def _like(weight: Tensor) -> Tensor:
    """Gradients of convolutions have their channels last."""
    dense = weight.new_empty(weight.movedim(1, -1).shape)
    return dense.movedim(-1, 1)


def _keep_coupling(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, context, weights, biases, *ctx.rest = inputs
    ctx.half = len(weights)
    ctx.save_for_backward(x, context, *weights, *biases)


def _coupling_gradients(ctx: Any, *grads: Tensor) -> Grads:
    x, context, *layers = ctx.saved_tensors
    weights, biases = layers[: ctx.half], layers[ctx.half :]
    by_x, by_context, by_weights, by_biases = torch.ops.diffeo.coupling_backward(
        *grads, x, context, weights, biases, None, *ctx.rest, True, True
    )
    return (
        by_x,
        by_context if context is not None else None,
        by_weights,
        by_biases,
        None,
        None,
        None,
    )


_FAKES: dict[str, Callable[..., Any]] = {
    "elementwise": _elementwise,
    "elementwise_backward": _elementwise_backward,
    "coupling": _coupling,
    "coupling_keep": _coupling,
    "coupling_backward": _coupling_backward,
}


def register() -> None:
    """Tell PyTorch; once, after the compiled operators are loaded."""
    for name, fake in _FAKES.items():
        torch.library.register_fake(f"diffeo::{name}", fake)
    torch.library.register_autograd("diffeo::elementwise", _gradients, setup_context=_keep)
    torch.library.register_autograd(
        "diffeo::coupling", _coupling_gradients, setup_context=_keep_coupling
    )
