"""Circular inputs for any conditioner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..core.settings import number, wholes
from ..core.shapes import Shape
from .base import ConditionerFactory

__all__ = ["Periodic"]


@dataclass(frozen=True)
class Periodic:
    """Wraps a conditioner so that the listed inputs, circular on [low, high), enter as their cosine
    and sine.

    Raises `ConfigError` unless low < high, both finite.

    >>> import torch, diffeo
    >>> factory = diffeo.conditioners.Periodic(
    ...     diffeo.conditioners.MLP((8,)), circular=[1], low=0.0, high=1.0)
    >>> factory((2,), (1, 2), None)(torch.rand(3, 2), None).shape
    torch.Size([3, 1, 2])
    """

    inner: ConditionerFactory
    circular: Sequence[int]
    low: float
    high: float

    def __post_init__(self) -> None:
        wholes("circular", self.circular, least=0, fewest=0)
        if not number("low", self.low) < number("high", self.high):
            raise ConfigError(f"a circle needs low < high, got {self.low} and {self.high}")

    def __call__(self, in_shape: Shape, out_shape: Shape, context_shape: Shape | None) -> nn.Module:
        (size,) = in_shape
        return _Net(self, self.inner((size + len(self.circular),), out_shape, context_shape), size)


class _Net(nn.Module):
    circular: Tensor
    plain: Tensor

    def __init__(self, spec: Periodic, net: nn.Module, size: int) -> None:
        super().__init__()
        self.net, self.low, self.turn = net, spec.low, 2 * math.pi / (spec.high - spec.low)
        around = set(spec.circular)
        plain = [i for i in range(size) if i not in around]
        self.register_buffer(
            "circular", torch.tensor(list(spec.circular), dtype=torch.long), persistent=False
        )
        self.register_buffer("plain", torch.tensor(plain, dtype=torch.long), persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        angle = (x.index_select(1, self.circular) - self.low) * self.turn
        out: Tensor = self.net(
            torch.cat([x.index_select(1, self.plain), angle.cos(), angle.sin()], 1), context
        )
        return out
