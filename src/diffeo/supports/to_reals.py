"""The layer that a scalar kind is, by its formulas."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.numerics import sum_event
from ..core.transform import Transform
from .base import Scalar

__all__ = ["ToReals"]


class ToReals(Transform):
    """y = u(x) for x in the support of a scalar kind, log|det| = −Σ log dx/du at y; outside, the
    log-det is −inf.

    >>> from diffeo.supports import GreaterThan
    >>> ToReals(GreaterThan(5.0))(torch.tensor([[6.0], [4.0]]))
    (tensor([[0.],
            [0.]]), tensor([0., -inf]))
    """

    any_dtype = True

    def __init__(self, kind: Scalar) -> None:
        super().__init__()
        self.kind = kind
        self.numbers = tuple(torch.tensor(n, dtype=torch.float64) for n in kind.numbers)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, inside = self.kind.coordinate(x if x.is_floating_point() else x.double(), self.numbers)
        slope = self.kind.log_slope(y, self.numbers)
        return y, sum_event(torch.where(inside, -slope, -math.inf))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.kind.value(y, self.numbers), sum_event(self.kind.log_slope(y, self.numbers))

    def extra_repr(self) -> str:
        return str(self.kind)
