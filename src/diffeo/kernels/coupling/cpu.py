"""The operator on CPUs: what cpu.cpp takes, and how it is called."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..elementwise import Pair
from ..native import kernels
from ..pool import Pool
from .layer import CouplingLayer, Stack

__all__ = ["Compiled", "load"]

_pool = Pool()


class Compiled:
    """Blocks of few rows or images go through each layer, so what a network makes is used where it
    was made; splitting, joining, biases and ReLUs are part of the same pass.
    """

    def takes(self, layer: CouplingLayer, x: Tensor, context: Tensor | None) -> bool:
        weights, biases = layer.weights, layer.biases
        return (
            x.dim() in (2, 4)
            and x.dtype in (torch.float32, torch.float64)
            and all(t.dtype == x.dtype and t.dim() == x.dim() for t in weights)
            and all(t.dtype == x.dtype and t.is_contiguous() for t in biases)
            and (
                x.dim() == 2
                or (context is None and x.numel() > 0 and all(_is_dense(w) for w in weights))
            )
            and x.shape[0] > 0
        )

    def forward(self, stack: Stack, x: Tensor, context: Tensor | None) -> Pair:
        y, logdet = torch.ops.diffeo.coupling(
            x,
            context,
            stack.weights,
            stack.biases,
            stack.orders,
            stack.kernel.name,
            stack.kernel.settings,
        )
        return y, logdet

    def keep(
        self, stack: Stack, x: Tensor, context: Tensor | None, *, reversed: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        layers = len(stack.orders) // x.shape[1]
        outputs = [weight.shape[0] for weight in stack.weights]
        kept = _pool.empty(torch.ops.diffeo.coupling_kept_size(x, outputs, layers), x.dtype)
        y, logdet = torch.ops.diffeo.coupling_keep(
            x,
            context,
            stack.weights,
            stack.biases,
            kept,
            stack.orders,
            stack.kernel.name,
            stack.kernel.settings,
            reversed,
        )
        return y, logdet, kept

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
        grads_of_given: tuple[Tensor, Tensor, list[Tensor], list[Tensor]]
        grads_of_given = torch.ops.diffeo.coupling_backward(
            *grads,
            x,
            context,
            stack.weights,
            stack.biases,
            kept,
            stack.orders,
            stack.kernel.name,
            stack.kernel.settings,
            want_input,
            want_net,
        )
        return grads_of_given


def _is_dense(weight: Tensor) -> bool:
    return weight.is_contiguous() or weight.is_contiguous(memory_format=torch.channels_last)


def load() -> Compiled | None:
    """For the registry."""
    return Compiled() if kernels().native else None
