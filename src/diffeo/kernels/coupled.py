"""A coupling layer of vectors in one call: network and map while both are in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.tracing import traced
from .fused import Kernel, Pair
from .native import serves

__all__ = ["Cut", "Layers", "coupled"]

Cut = tuple[int, int, int]  # first conditioning column, first transformed column, and the step from one to the next of its part
Layers = tuple[list[Tensor], list[Tensor]]  # weights and biases of linear layers


def coupled(kernel: Kernel, cut: Cut, x: Tensor, context: Tensor | None, layers: Layers) -> Pair | None:
    """The coupling layer with the map of `kernel`, whose parameters linear layers with ReLUs between make of the conditioning
    columns of x (B, D) and a context (B, C): y (B, D) and the log-det by row. None where no compiled kernel does that.

    Blocks of at most 128 rows go through network and map, so parameters are used where they were made; splitting, joining,
    biases and ReLUs are part of the same pass.
    """
    weights, biases = layers
    if not _serves(x, context, weights):
        return None
    if torch.is_grad_enabled():
        y, logdet = _Coupled.apply(kernel, cut, x, context, *weights, *biases)  # type: ignore[no-untyped-call]
        return y, logdet
    y, logdet, _ = _operator(kernel, "")(x, context, weights, biases, *cut, *kernel.settings, False)
    return y, logdet


def _serves(x: Tensor, context: Tensor | None, weights: Sequence[Tensor]) -> bool:
    return (
        not traced()
        and serves(x)
        and x.dim() == 2
        and x.dtype == weights[0].dtype
        and x.dtype in (torch.float32, torch.float64)
        and (context is None or context.dtype == x.dtype)
        and x.shape[0] > 0
        and weights[0].shape[1] > 0
        and not torch.is_autocast_enabled("cpu")
    )


def _operator(kernel: Kernel, direction: str) -> Any:
    return getattr(torch.ops.diffeo, f"{kernel.name}_coupling{direction}").default


class _Coupled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernel: Kernel, cut: Cut, x: Tensor, context: Tensor | None, *layers: Tensor) -> Pair:
        half, need = len(layers) // 2, any(ctx.needs_input_grad)
        y, logdet, kept = _operator(kernel, "")(x, context, layers[:half], layers[half:], *cut, *kernel.settings, need)
        ctx.kernel, ctx.cut, ctx.half = kernel, cut, half
        ctx.save_for_backward(x, context, *layers, *kept)
        return y, logdet

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        half, need = ctx.half, ctx.needs_input_grad[2:]
        x, context, *rest = ctx.saved_tensors
        layers, kept = rest[: 2 * half], rest[2 * half :]
        if torch.is_grad_enabled():  # a second derivative is wanted
            return None, None, *_by_parts(ctx, grads, x, context, layers)
        grad_x, grad_context, weights, biases = _operator(ctx.kernel, "_backward")(
            *grads, x, context, layers[:half], layers[half:], kept, *ctx.cut, *ctx.kernel.settings, any(need[:2]), any(need[2:])
        )
        of_layers = [*weights, *biases] or [None] * (2 * half)
        return None, None, grad_x, grad_context if need[1] else None, *of_layers


def _by_parts(
    ctx: Any, grads: Sequence[Tensor], x: Tensor, context: Tensor | None, layers: Sequence[Tensor]
) -> list[Tensor | None]:
    """The gradients as what can be differentiated again."""
    given = (x, context, *layers)
    wanted = [t for t in given if t is not None and t.requires_grad]
    with torch.enable_grad():
        outputs = _parts(ctx.kernel, ctx.cut, x, context, layers[: ctx.half], layers[ctx.half :])
        found = iter(torch.autograd.grad(outputs, wanted, grads, create_graph=True, allow_unused=True))
    return [next(found) if t is not None and t.requires_grad else None for t in given]


def _parts(
    kernel: Kernel, cut: Cut, x: Tensor, context: Tensor | None, weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> Pair:
    """The same, step by step."""
    first_a, first_b, step = cut
    size_a = weights[0].shape[1] - (0 if context is None else context.shape[1])
    size_b = x.shape[1] - size_a
    a, b = (x[:, first : first + step * size : step] for first, size in ((first_a, size_a), (first_b, size_b)))
    h = a if context is None else torch.cat([a, context], 1)
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        h = F.linear(h, weight, bias).relu()
    params = F.linear(h, weights[-1], biases[-1]).unflatten(1, (size_b, -1))
    y, logdet = kernel(b, params, by_row=True)
    return x.slice_scatter(y, 1, first_b, first_b + step * size_b, step), logdet
