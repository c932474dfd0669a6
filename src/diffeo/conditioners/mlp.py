"""The multilayer perceptron."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from ..core.settings import number, one_of, wholes
from ..core.shapes import Shape
from .base import ACTIVATIONS, activation, enter, joined, linear, width, zero_linear

__all__ = ["MLP"]


@dataclass(frozen=True)
class MLP:
    """θ = W_n φ(... φ(W_1 [x_A, c] + b_1) ...) + b_n: fully connected, the context joined to the
    input.

    Calling it builds the network, whose last layer starts at zero. Raises `ConfigError` for a layer
    without units, an unknown activation, or a dropout outside [0, 1).

    >>> import torch, diffeo
    >>> net = diffeo.conditioners.MLP(hidden=(16,))((2,), (3, 2), None)
    >>> net(torch.ones(5, 2), None).shape
    torch.Size([5, 3, 2])
    """

    hidden: Sequence[int] = (128, 128)
    activation: str = "relu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        wholes("hidden", self.hidden, fewest=0)
        one_of("activation", self.activation, ACTIVATIONS)
        number("dropout", self.dropout, least=0, below=1)

    def __call__(self, in_shape: Shape, out_shape: Shape, context_shape: Shape | None) -> nn.Module:
        sizes = [width(in_shape, context_shape), *self.hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [linear(inputs, outputs), activation(self.activation, inplace=True)]
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
        body = nn.Sequential(*layers, zero_linear(sizes[-1], math.prod(out_shape)))
        return _Net(body, out_shape)


class _Net(nn.Module):
    def __init__(self, body: nn.Sequential, out_shape: Shape) -> None:
        super().__init__()
        self.body, self.out_shape = body, out_shape

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        first, *rest = self.body
        h = enter(first, joined(x, context))
        for layer in rest:
            h = layer(h)
        out: Tensor = h.unflatten(1, self.out_shape)
        return out

    def relu_layers(self) -> list[nn.Module] | None:
        """The linear layers, if nothing but ReLUs acts between them: dropout does not, but while
        training.
        """
        between = [part for part in self.body if not isinstance(part, nn.Linear)]
        quiet = all(
            isinstance(part, nn.ReLU) or (isinstance(part, nn.Dropout) and not self.training)
            for part in between
        )
        return [part for part in self.body if isinstance(part, nn.Linear)] if quiet else None
