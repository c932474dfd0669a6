"""What the networks of coupling layers have in common."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..core.shapes import Shape
from ..kernels import few_inputs

__all__ = ["ConditionerFactory", "activation", "enter", "is_plain", "joined", "linear", "zero_linear"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
}


class ConditionerFactory(Protocol):
    """Builds a network (B, \\*in_shape), context (B, \\*context_shape) or None -> (B, \\*out_shape), zero at first."""

    def __call__(self, in_shape: Shape, out_shape: Shape, context_shape: Shape | None) -> nn.Module: ...


def activation(name: str, inplace: bool = False) -> nn.Module:
    """The activation of that name; raises `ConfigError` with the known ones.

    `inplace` is for after a layer whose output nobody else needs: a ReLU then takes no memory of its own.
    """
    if name not in ACTIVATIONS:
        raise ConfigError(f"unknown activation {name!r}: use one of {', '.join(ACTIVATIONS)}")
    return nn.ReLU(inplace=True) if inplace and name == "relu" else ACTIVATIONS[name]()


def joined(x: Tensor, context: Tensor | None) -> Tensor:
    """Input and context side by side as vectors."""
    flat = x.flatten(1)
    return flat if context is None else torch.cat([flat, context.flatten(1).to(flat.dtype)], dim=1)


def enter(layer: nn.Module, h: Tensor) -> Tensor:
    """layer(h), by way of `few_inputs` for a plain linear layer."""
    out: Tensor = few_inputs(h, layer.weight, layer.bias) if is_plain(layer) else layer(h)  # type: ignore[arg-type]
    return out


def is_plain(layer: nn.Module) -> bool:
    """Is it a linear layer that nothing (a hook, a parametrization) has been put upon?"""
    return type(layer) is nn.Linear and bool(layer.in_features) and not layer._forward_hooks and not layer._forward_pre_hooks


def width(in_shape: Shape, context_shape: Shape | None) -> int:
    """How many numbers `joined` hands on."""
    return math.prod(in_shape) + (math.prod(context_shape) if context_shape is not None else 0)


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer; one without inputs (a vector of one entry) is its bias and draws no warning."""
    if inputs:
        return nn.Linear(inputs, outputs)
    layer = _bare(0, outputs)
    nn.init.uniform_(layer.bias, -1.0, 1.0)
    return layer


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer that starts at zero, so that the coupling starts as the identity."""
    layer = _bare(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _bare(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer with uninitialised weights. PyTorch warns when one without inputs is built, so that is cut from another."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, max(inputs, 1), outputs)
    if not inputs:
        layer.in_features, layer.weight = 0, nn.Parameter(layer.weight.detach()[:, :0].clone())
    return layer
