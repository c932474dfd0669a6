"""What the networks of coupling layers have in common."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from ..core.settings import one_of
from ..core.shapes import Shape, flat
from ..kernels import few_inputs, is_bare

__all__ = [
    "ConditionerFactory",
    "activation",
    "enter",
    "joined",
    "linear",
    "zero_linear",
]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
}


class ConditionerFactory(Protocol):
    """Builds a network (B, *in_shape), context (B, *context_shape) or None -> (B,
    *out_shape), zero at first.
    """

    def __call__(
        self, in_shape: Shape, out_shape: Shape, context_shape: Shape | None
    ) -> nn.Module: ...


def activation(name: str, inplace: bool = False) -> nn.Module:
    """The activation of that name; raises `ConfigError` with the known ones.

    `inplace` is for after a layer whose output nobody else needs: a ReLU then takes no memory of
    its own.
    """
    one_of("activation", name, ACTIVATIONS)
    return nn.ReLU(inplace=True) if inplace and name == "relu" else ACTIVATIONS[name]()


def joined(x: Tensor, context: Tensor | None) -> Tensor:
    """Input and context side by side as vectors."""
    rows = x.flatten(1)
    return rows if context is None else torch.cat([rows, flat(context).to(rows.dtype)], dim=1)


def enter(layer: nn.Module, h: Tensor) -> Tensor:
    """layer(h), by way of `few_inputs` for a plain linear layer."""
    plain = type(layer) is nn.Linear and layer.in_features and is_bare(layer)
    out: Tensor = few_inputs(h, layer.weight, layer.bias) if plain else layer(h)  # type: ignore[arg-type]
    return out


def width(in_shape: Shape, context_shape: Shape | None) -> int:
    """How many numbers `joined` hands on."""
    return math.prod(in_shape) + (math.prod(context_shape) if context_shape is not None else 0)


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer; one without inputs (a vector of one entry) is its bias and draws no
    warning.
    """
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
    """A linear layer with uninitialised weights, of a shape that PyTorch need not fill or warn of:
    cut to another afterwards.
    """
    layer = nn.Linear(1, 1, device="meta")
    layer.in_features, layer.out_features = inputs, outputs
    layer.weight = nn.Parameter(torch.empty(outputs, inputs))
    layer.bias = nn.Parameter(torch.empty(outputs))
    return layer
