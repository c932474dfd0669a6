"""Coupling layers in one call: networks and maps while both are in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ...core.shapes import flat
from .. import registry
from ..elementwise import Kernel, Pair
from . import cpu, reference
from .layer import CouplingLayer, Stack

__all__ = ["couple", "retrace", "takes"]


class Implementation(Protocol):
    """The operator for one kind of device."""

    def takes(self, layer: CouplingLayer, x: Tensor, context: Tensor | None) -> bool:
        """Can it run the layer, as part of a stack, on such an x?"""

    def forward(self, stack: Stack, x: Tensor, context: Tensor | None) -> Pair:
        """y like x and the log-det (B,)."""

    def keep(
        self, stack: Stack, x: Tensor, context: Tensor | None, *, reversed: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same, and what `vjp` wants; with `reversed` that of the layers that lead back."""

    def vjp(
        self,
        stack: Stack,
        x: Tensor,
        context: Tensor | None,
        kept: Tensor,
        grads: Sequence[Tensor],
        *,
        want_input: bool = True,
        want_net: bool = True,
    ) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
        """From the gradients by y and log-det those by x, context (B, 0 without one), weights and
        biases; the last two are empty without `want_net`.
        """


registry.register("coupling", "cpu", cpu.load)


def _serving(x: Tensor) -> Implementation | None:
    serving: Implementation | None = registry.find("coupling", x)
    return serving


def takes(layer: CouplingLayer, x: Tensor, context: Tensor | None) -> bool:
    """Is there an implementation for the layer at such an x?"""
    if forward_ad._current_level >= 0 or not layer.reads(x, context):
        return False
    serving = _serving(x)
    return serving is not None and serving.takes(layer, x, context)


def couple(layers: Sequence[CouplingLayer], x: Tensor, context: Tensor | None) -> Pair:
    """x (B, D) or (B, C, H, W) through coupling layers that take it and join, each conditioned by
    its features and, for vectors, a context (B, *C): y like x and the log-det by row.
    """
    context = None if context is None else flat(context).to(x.dtype)
    stack = Stack.of(layers)
    given = (x, context, *stack.weights, *stack.biases)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given):
        y, logdet = _Couple.apply(stack.kernel, stack.orders, *given)  # type: ignore[no-untyped-call]
        return y, logdet
    serving = _serving(x)
    assert serving is not None
    return serving.forward(stack, x, context)


def retrace(
    layer: CouplingLayer,
    kernel: Kernel,
    y: Tensor,
    context: Tensor | None,
    grads: tuple[Tensor, Tensor],
    others: Sequence[Tensor],
) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
    """x of y, by a layer that inverts, and from the gradients by the pair that `kernel`, the map of
    the other direction, makes of x, those by x and by others (weights, biases, context). The
    network is evaluated once: what it reads is the same.
    """
    serving = _serving(y)
    assert serving is not None
    given = None if context is None else flat(context).to(y.dtype)
    back = Stack.of([layer])
    x, _, kept = serving.keep(back, y, given, reversed=True)
    ahead = Stack(kernel=kernel, orders=back.orders, weights=back.weights, biases=back.biases)
    by_x, by_context, by_weights, by_biases = serving.vjp(ahead, x, given, kept, grads)
    sums: dict[Tensor, Tensor] = {}
    parameters, gradients = [*back.weights, *back.biases], [*by_weights, *by_biases]
    for tensor, grad in zip(parameters, gradients, strict=True):
        sums[tensor] = sums[tensor] + grad if tensor in sums else grad  # weights may be shared
    if context is not None:
        sums[context] = by_context.view_as(context)
    return x, by_x, tuple(sums.get(t) for t in others)


class _Couple(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        kernel: Kernel,
        orders: list[int],
        x: Tensor,
        context: Tensor | None,
        *layers: Tensor,
    ) -> Pair:
        ctx.serving, ctx.kernel, ctx.orders = _serving(x), kernel, orders
        y, logdet, kept = ctx.serving.keep(_stack(ctx, layers), x, context)
        ctx.save_for_backward(x, context, kept, *layers)
        return y, logdet

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        need = ctx.needs_input_grad[2:]
        x, context, kept, *layers = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            return None, None, *_differentiable(ctx, grads, [x, context, *layers])
        by_x, by_context, *by_net = ctx.serving.vjp(
            _stack(ctx, layers),
            x,
            context,
            kept,
            grads,
            want_input=any(need[:2]),
            want_net=any(need[2:]),
        )
        by_layers = [grad for part in by_net for grad in part] or [None] * len(layers)
        return None, None, by_x, by_context if need[1] else None, *by_layers


def _stack(ctx: Any, layers: Sequence[Tensor]) -> Stack:
    """Of the tensors that autograd knows: all weights, then all biases."""
    half = len(layers) // 2
    return Stack(kernel=ctx.kernel, orders=ctx.orders, weights=layers[:half], biases=layers[half:])


def _differentiable(
    ctx: Any, grads: Sequence[Tensor], given: list[Tensor | None]
) -> list[Tensor | None]:
    """The gradients by all that was given, as what can be differentiated again."""
    with torch.enable_grad():
        # Under other names, for one may be a function of another, or the same.
        given = [t.view_as(t) if t is not None and t.requires_grad else t for t in given]
        wanted = [t for t in given if t is not None and t.requires_grad]
        x, context, *layers = given
        outputs = reference.couple(_stack(ctx, layers), x, context)  # type: ignore[arg-type]
        grads_of_wanted = iter(
            torch.autograd.grad(outputs, wanted, grads, create_graph=True, allow_unused=True)
        )
    return [next(grads_of_wanted) if t is not None and t.requires_grad else None for t in given]
