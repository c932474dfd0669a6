"""Covariances."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from ..core.numerics import sum_event
from ..core.shapes import Shape
from .base import Event
from .simplex import TOLERANCE
from .triangles import diagonal, eye, from_logs, kept_below, to_logs, triangle

__all__ = ["PositiveDefinite"]


@dataclass(frozen=True)
class PositiveDefinite(Event):
    """Σ = L Lᵀ (K, K) with L as in `LowerCholesky`: symmetric and positive definite.

    log|det| = K log 2 + Σ_i (K − i + 1) u_ii, i = 0 .. K − 1, for densities with respect to the
    lower triangle of Σ (as those of Wishart distributions). Far out Σ is singular to rounding: a
    density that can take L is better off.

    >>> PositiveDefinite().value(torch.tensor([[0.0, 2.0, 0.0]]), (2, 2))
    tensor([[[1., 2.],
             [2., 5.]]])
    """

    form: ClassVar[str] = "positive_definite"
    example: ClassVar[str] = "positive_definite"
    axes: ClassVar[int] = 2

    @classmethod
    def named(cls, constraint: Any) -> bool:
        return isinstance(constraint, type(constraints.positive_definite))

    def latent(self, shape: Shape) -> Shape:
        return triangle(shape, 0)

    def value(self, u: Tensor, shape: Shape) -> Tensor:
        info = torch.finfo(u.dtype)
        size = shape[-1]
        # squares must fit
        least = 0.5 * math.log(info.tiny)
        most = 0.5 * math.log(info.max) - size
        lower = from_logs(u, size, least=least, most=most)
        return lower @ lower.mT

    def log_det(self, u: Tensor, shape: Shape) -> Tensor:
        size = shape[-1]
        weights = torch.arange(size + 1, 1, -1, dtype=u.dtype, device=u.device)
        return sum_event((weights * u[..., diagonal(size)]).sum(-1) + size * math.log(2))

    def coordinates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        largest = x.abs().amax((-2, -1), keepdim=True)
        symmetric = ((x - x.mT).abs() <= TOLERANCE * largest).all(-1).all(-1)
        inside = symmetric & x.isfinite().all(-1).all(-1)
        lower, failed = torch.linalg.cholesky_ex(torch.where(inside[..., None, None], x, eye(x)))
        inside = inside & (failed == 0)
        return to_logs(torch.where(inside[..., None, None], lower, eye(x))), inside

    def kept(self, shape: Shape) -> Tensor:
        return kept_below(shape)
