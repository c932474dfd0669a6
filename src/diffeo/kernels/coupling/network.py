"""Which networks the operator runs: linear layers, or convolutions, with ReLUs between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

__all__ = ["is_bare", "relu_layers"]


def relu_layers(net: nn.Module) -> tuple[list[Tensor], list[Tensor]] | None:
    """Weights and biases of a network that is no more than linear layers or convolutions with ReLUs
    between. A network says so by a method `relu_layers`, which returns the layers. None for others,
    and where something (a hook, a parametrization) has been put upon it.
    """
    method: Callable[[], Any] | None = getattr(net, "relu_layers", None)
    layers = method() if method is not None and all(map(is_bare, net.modules())) else None
    if not layers or not all(type(layer) in (nn.Linear, nn.Conv2d) for layer in layers):
        return None
    return [layer.weight for layer in layers], [layer.bias for layer in layers]


def is_bare(module: nn.Module) -> bool:
    """Has it no hooks?"""
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return not any(hooks)
