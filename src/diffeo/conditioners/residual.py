"""The residual multilayer perceptron."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core.settings import number, one_of, whole
from ..core.shapes import Shape
from .base import ACTIVATIONS, activation, enter, joined, linear, width, zero_linear

__all__ = ["ResidualMLP"]


@dataclass(frozen=True)
class ResidualMLP:
    """h ← h + W₂ φ(W₁ φ(h)), `blocks` times, between an input and an output layer; the context
    joined to the input.

    Pre-activation residual blocks (He et al. 2016, arXiv:1603.05027), the conditioner of Neural
    Spline Flows. The last layer starts at zero. Raises `ConfigError` for sizes below 1, an unknown
    activation, or a dropout outside [0, 1).

    >>> import torch, diffeo
    >>> net = diffeo.conditioners.ResidualMLP(width=16, blocks=2)((2,), (3, 2), (4,))
    >>> net(torch.ones(5, 2), torch.ones(5, 4)).shape
    torch.Size([5, 3, 2])
    """

    width: int = 128
    blocks: int = 2
    activation: str = "relu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        whole("width", self.width)
        whole("blocks", self.blocks)
        one_of("activation", self.activation, ACTIVATIONS)
        number("dropout", self.dropout, least=0, below=1)

    def __call__(self, in_shape: Shape, out_shape: Shape, context_shape: Shape | None) -> nn.Module:
        return _Net(self, width(in_shape, context_shape), out_shape)


class _Net(nn.Module):
    def __init__(self, spec: ResidualMLP, inputs: int, out_shape: Shape) -> None:
        super().__init__()
        self.out_shape = out_shape
        self.inputs = linear(inputs, spec.width)
        self.blocks = nn.ModuleList(_block(spec) for _ in range(spec.blocks))
        self.act = activation(spec.activation)
        self.head = zero_linear(spec.width, math.prod(out_shape))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = enter(self.inputs, joined(x, context))
        for block in self.blocks:
            h = h + block(h)
        out: Tensor = self.head(self.act(h)).unflatten(1, self.out_shape)
        return out


def _block(spec: ResidualMLP) -> nn.Module:
    middle = nn.Linear(spec.width, spec.width)
    # residual branches start small, so depth does not inflate the activations
    with torch.no_grad():
        middle.weight.mul_(0.1)
    parts = [
        activation(spec.activation),
        nn.Linear(spec.width, spec.width),
        activation(spec.activation, inplace=True),
    ]
    return nn.Sequential(*parts, *([nn.Dropout(spec.dropout)] if spec.dropout else []), middle)
