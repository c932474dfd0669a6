"""Cholesky factors of covariances."""

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
from .triangles import diagonal, eye, from_logs, is_cholesky, kept_below, to_logs, triangle

__all__ = ["LowerCholesky"]


@dataclass(frozen=True)
class LowerCholesky(Event):
    """L (K, K), lower triangular with a positive diagonal: L_ij = u_ij below the diagonal, L_ii =
    exp(u_ii).

    Coordinates go row by row. log|det| = Σ u_ii, for densities with respect to the entries of the
    lower triangle.

    >>> LowerCholesky().value(torch.tensor([[0.0, 5.0, 0.0]]), (2, 2))
    tensor([[[1., 0.],
             [5., 1.]]])
    """

    form: ClassVar[str] = "lower_cholesky"
    example: ClassVar[str] = "lower_cholesky"
    axes: ClassVar[int] = 2

    @classmethod
    def named(cls, constraint: Any) -> bool:
        return isinstance(constraint, type(constraints.lower_cholesky))

    def latent(self, shape: Shape) -> Shape:
        return triangle(shape, 0)

    def value(self, u: Tensor, shape: Shape) -> Tensor:
        info = torch.finfo(u.dtype)
        return from_logs(u, shape[-1], least=math.log(info.tiny), most=math.log(info.max) - 1)

    def log_det(self, u: Tensor, shape: Shape) -> Tensor:
        return sum_event(u[..., diagonal(shape[-1])].sum(-1))

    def coordinates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inside = is_cholesky(x)
        return to_logs(torch.where(inside[..., None, None], x, eye(x))), inside

    def kept(self, shape: Shape) -> Tensor:
        return kept_below(shape)
