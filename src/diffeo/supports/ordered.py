"""Vectors whose entries increase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from ..core.numerics import sum_event
from ..core.open_ends import exponent
from ..core.shapes import Shape
from .base import Event

__all__ = ["Ordered", "ordered"]


class _Ordered(Constraint):
    """Vectors whose entries increase; ties, which rounding makes, count as inside."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (value.diff(dim=-1) >= 0).all(-1)


ordered = _Ordered()
"""The constraint of increasing vectors, which PyTorch lacks."""


@dataclass(frozen=True)
class Ordered(Event):
    """x_0 = u_0, x_k = x_{k−1} + exp(u_k): vectors that increase; log|det| = Σ_{k>0} u_k. As in
    Stan.

    Where rounding swallows a step, two entries are equal; such ties count as inside.

    >>> Ordered().value(torch.zeros(1, 3), (3,))
    tensor([[0., 1., 2.]])
    """

    form: ClassVar[str] = "ordered"
    example: ClassVar[str] = "ordered"
    axes: ClassVar[int] = 1

    @classmethod
    def named(cls, constraint: Any) -> bool:
        return isinstance(constraint, _Ordered)

    def latent(self, shape: Shape) -> Shape:
        return shape

    def value(self, u: Tensor, shape: Shape) -> Tensor:
        steps = exponent(u[..., 1:], terms=shape[-1]).exp()
        return torch.cat([u[..., :1], steps], -1).cumsum(-1)

    def log_det(self, u: Tensor, shape: Shape) -> Tensor:
        return sum_event(u[..., 1:].sum(-1))

    def coordinates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        steps = x.diff(dim=-1)
        inside = (steps >= 0).all(-1) & x.isfinite().all(-1)
        logs = steps.clamp_min(torch.finfo(x.dtype).tiny).log()
        return torch.cat([x[..., :1], logs], -1), inside

    def kept(self, shape: Shape) -> Tensor:
        return torch.ones(shape, dtype=torch.bool)
