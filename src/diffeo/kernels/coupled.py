"""Coupling layers in one call: networks and maps while both are in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from ..core.shapes import flat
from ..core.tracing import traced
from .fused import Kernel, Pair
from .native import serves
from .pool import Pool

__all__ = ["Coupled", "Cut", "coupled", "retraced"]

# entries of a vector or channels of an image: those that condition, then those that are transformed
Cut = list[int]
LINE = 16  # native/network.h: positions go by so many
ROWS, POSITIONS = 32, 256  # of a block: vectors; pixels, borders included, at least


@dataclass(frozen=True)
class Coupled:
    """A coupling layer: its map, which features are which, and what makes the map's parameters:
    linear layers (of vectors) or convolutions (of images) with ReLUs between."""

    kernel: Kernel
    cut: Cut
    weights: list[Tensor]
    biases: list[Tensor]

    def joins(self, other: Coupled) -> bool:
        """Can both be part of one call?"""
        mine, theirs = self.kernel, other.kernel
        return (mine.name, mine.settings, len(self.weights)) == (
            theirs.name,
            theirs.settings,
            len(other.weights),
        )

    def takes(self, x: Tensor, context: Tensor | None) -> bool:
        """Is there a compiled kernel for such an x? Under autocast too: in float32 it is faster
        than its parts in bfloat16.
        """
        layers = [*self.weights, *self.biases]
        return (
            not traced()
            and forward_ad._current_level < 0
            and serves(x)
            and x.dim() in (2, 4)
            and x.dtype in (torch.float32, torch.float64)
            and all(t.dtype == x.dtype for t in layers)
            and all(w.dim() == x.dim() for w in self.weights)
            and all(b.is_contiguous() for b in self.biases)
            and (
                x.dim() == 2
                or (context is None and x.numel() > 0 and all(_is_dense(w) for w in self.weights))
            )
            and x.shape[0] > 0
        )


def _is_dense(weight: Tensor) -> bool:
    return weight.is_contiguous() or weight.is_contiguous(memory_format=torch.channels_last)


def coupled(layers: Sequence[Coupled], x: Tensor, context: Tensor | None) -> Pair:
    """x (B, D) or (B, C, H, W) through coupling layers that take it and join, each conditioned by
    its features and, for vectors, a context (B, *C): y like x and the log-det by row.

    Blocks of few rows or images go through each layer, so what a network makes is used where it was
    made; splitting, joining, biases and ReLUs are part of the same pass.
    """
    context = None if context is None else flat(context).to(x.dtype)
    kernel, cuts = layers[0].kernel, [number for layer in layers for number in layer.cut]
    weights, biases = (
        [w for layer in layers for w in layer.weights],
        [b for layer in layers for b in layer.biases],
    )
    if torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (x, context, *weights, *biases)
    ):
        y, logdet = _Coupled.apply(kernel, cuts, x, context, *weights, *biases)  # type: ignore[no-untyped-call]
    else:
        settings = (cuts, _block(x), kernel.name, kernel.settings)
        y, logdet = torch.ops.diffeo.coupling(x, context, weights, biases, *settings)
    return y, logdet


def _positions(x: Tensor) -> tuple[int, int]:
    """How many an event has, borders included, and how many from one to the farthest that a
    convolution sees.
    """
    return ((x.shape[2] + 1) * (x.shape[3] + 1), x.shape[3] + 2) if x.dim() == 4 else (1, 0)


def _block(x: Tensor) -> int:
    """How many events go together. Images are shared out evenly among a power of two of blocks."""
    if x.dim() == 2:
        return ROWS
    blocks = 1 << (x.shape[0] * _positions(x)[0] // POSITIONS).bit_length()
    return -(-x.shape[0] // min(blocks, x.shape[0]))


def _kept_size(x: Tensor, weights: Sequence[Tensor], layers: int) -> int:
    """How many numbers backward wants: what goes into and out of each layer, and what its network
    hands on.
    """
    return _blocks(x) * sum(
        _size(x, size) for size in [*[x.shape[1]] * (layers + 1), *(w.shape[0] for w in weights)]
    )


def _blocks(x: Tensor) -> int:
    return -(-x.shape[0] // _block(x))


def _size(x: Tensor, features: int) -> int:
    """The numbers of so many features of a block (native/network.h)."""
    each, reach = _positions(x)
    margin = -(-reach // LINE) * LINE
    return features * (margin + -(-_block(x) * each // LINE) * LINE) + margin


def retraced(
    layer: Coupled,
    kernel: Kernel,
    y: Tensor,
    context: Tensor | None,
    grads: tuple[Tensor, Tensor],
    others: Sequence[Tensor],
) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
    """x of y, by a layer that inverts, and from the gradients by the pair that `kernel`, the map of
    the other direction, makes of x, those by x and by others (weights, biases, context). The
    network is evaluated once: what it reads is the same."""
    given = (None if context is None else flat(context).to(y.dtype), layer.weights, layer.biases)
    kept = _pool.empty(_kept_size(y, layer.weights, 1), y.dtype)
    settings = (layer.cut, _block(y))
    x, _ = torch.ops.diffeo.coupling_keep(
        y, *given, kept, *settings, layer.kernel.name, layer.kernel.settings
    )
    before, after = kept.tensor_split([kept.numel() - _blocks(y) * _size(y, y.shape[1])])
    before.view(_blocks(y), -1)[:, : _size(y, y.shape[1])] = after.view(_blocks(y), -1)
    by_x, by_context, by_weights, by_biases = torch.ops.diffeo.coupling_backward(
        *grads, x, *given, kept, *settings, kernel.name, kernel.settings, True, True
    )
    found: dict[Tensor, Tensor] = {}
    for tensor, grad in zip(
        [*layer.weights, *layer.biases], [*by_weights, *by_biases], strict=True
    ):
        found[tensor] = found[tensor] + grad if tensor in found else grad  # weights may be shared
    if context is not None:
        found[context] = by_context.view_as(context)
    return x, by_x, tuple(found.get(t) for t in others)


_pool = Pool()


class _Coupled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        kernel: Kernel,
        cuts: list[int],
        x: Tensor,
        context: Tensor | None,
        *layers: Tensor,
    ) -> Pair:
        ctx.kernel, ctx.cuts, ctx.half = kernel, cuts, len(layers) // 2
        weights, biases = layers[: ctx.half], layers[ctx.half :]
        kept = _pool.empty(_kept_size(x, weights, len(cuts) // x.shape[1]), x.dtype)
        ctx.save_for_backward(x, context, kept, *layers)
        settings = (cuts, _block(x), kernel.name, kernel.settings)
        y, logdet = torch.ops.diffeo.coupling_keep(x, context, weights, biases, kept, *settings)
        return y, logdet

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        half, need = ctx.half, ctx.needs_input_grad[2:]
        x, context, kept, *layers = ctx.saved_tensors
        weights, biases = layers[:half], layers[half:]
        if torch.is_grad_enabled():  # a second derivative is wanted
            return None, None, *_differentiable(ctx, grads, [x, context, *layers])
        settings = (ctx.cuts, _block(x), ctx.kernel.name, ctx.kernel.settings)
        grad_x, grad_context, *of_layers = torch.ops.diffeo.coupling_backward(
            *grads, x, context, weights, biases, kept, *settings, any(need[:2]), any(need[2:])
        )
        of_net = [grad for part in of_layers for grad in part] or [None] * (2 * half)
        return None, None, grad_x, grad_context if need[1] else None, *of_net


def _differentiable(
    ctx: Any, grads: Sequence[Tensor], given: list[Tensor | None]
) -> list[Tensor | None]:
    """The gradients by all that was given, as what can be differentiated again."""
    with torch.enable_grad():
        # Under other names, for one may be a function of another, or the same.
        given = [t.view_as(t) if t is not None and t.requires_grad else t for t in given]
        wanted = [t for t in given if t is not None and t.requires_grad]
        outputs = _step_by_step(ctx.kernel, ctx.cuts, ctx.half, *given)  # type: ignore[arg-type]
        found = iter(
            torch.autograd.grad(outputs, wanted, grads, create_graph=True, allow_unused=True)
        )
    return [next(found) if t is not None and t.requires_grad else None for t in given]


def _step_by_step(
    kernel: Kernel, cuts: list[int], half: int, x: Tensor, context: Tensor | None, *layers: Tensor
) -> Pair:
    """The same in PyTorch."""
    size = x.shape[1]
    total, count = x.new_zeros(x.shape[0]), len(cuts) // size
    for i in range(count):
        own = slice(i * half // count, (i + 1) * half // count)
        x, logdet = _one_step(
            kernel,
            cuts[i * size : (i + 1) * size],
            x,
            context,
            layers[:half][own],
            layers[half:][own],
        )
        total = total + logdet
    return x, total


def _one_step(
    kernel: Kernel,
    cut: list[int],
    x: Tensor,
    context: Tensor | None,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
) -> Pair:
    size_a = weights[0].shape[1] - (0 if context is None else context.shape[1])
    conditioning, transformed = (
        torch.tensor(part, dtype=torch.long) for part in (cut[:size_a], cut[size_a:])
    )
    a, b = x.index_select(1, conditioning), x.index_select(1, transformed)
    h = a if context is None else torch.cat([a, context], 1)
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        h = _linear(h, weight, bias).relu()
    params = _linear(h, weights[-1], biases[-1]).unflatten(1, (len(transformed), -1)).movedim(2, -1)
    y, logdet = kernel(b, params, by_row=True)
    return x.index_copy(1, transformed, y), logdet


def _linear(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return (
        F.linear(h, weight, bias)
        if h.dim() == 2
        else F.conv2d(h, weight, bias, padding=weight.shape[-1] // 2)
    )
