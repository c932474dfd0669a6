"""Shares: positive numbers of sum 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from ..core.numerics import sum_event
from ..core.shapes import Shape
from .base import Event

__all__ = ["TOLERANCE", "Simplex"]

# by how much a sum may miss 1: draws that were written with six digits still belong
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Simplex(Event):
    """x = softmax(V u) with K entries, positive and of sum 1, from K − 1 coordinates; V Vᵀ = I −
    1/K.

    The isometric log-ratio transform, Stan's: u = 0 is the middle, and no entry is special.
    log|det| = ½ log K + Σ log x_k, for densities with respect to the first K − 1 entries (as those
    of Dirichlet distributions). https://mc-stan.org/math (simplex_constrain).

    >>> Simplex().value(torch.zeros(1, 3), (4,))
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """

    form: ClassVar[str] = "simplex"
    example: ClassVar[str] = "simplex"
    axes: ClassVar[int] = 1

    @classmethod
    def named(cls, constraint: Any) -> bool:
        return isinstance(constraint, type(constraints.simplex))

    def latent(self, shape: Shape) -> Shape:
        return (*shape[:-1], shape[-1] - 1)

    def value(self, u: Tensor, shape: Shape) -> Tensor:
        return _log(u).clamp_min(math.log(2 * torch.finfo(u.dtype).tiny)).exp()

    def log_det(self, u: Tensor, shape: Shape) -> Tensor:
        return sum_event(_log(u).sum(-1) + 0.5 * math.log(shape[-1]))

    def coordinates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inside = (x > 0).all(-1) & ((x.sum(-1) - 1).abs() < TOLERANCE)
        basis = _contrasts(x.shape[-1]).to(x)
        return torch.where(inside[..., None], x, 1.0).log() @ basis, inside

    def kept(self, shape: Shape) -> Tensor:
        return torch.full(shape, shape[-1] > 1)


def _log(u: Tensor) -> Tensor:
    return torch.log_softmax(u @ _contrasts(u.shape[-1] + 1).T.to(u), -1)


@lru_cache
def _contrasts(size: int) -> Tensor:
    """V (K, K − 1), float64: orthonormal columns that each sum to zero, Helmert's."""
    basis = torch.ones(size, size - 1, dtype=torch.float64).triu()
    k = torch.arange(1, size, dtype=torch.float64)
    basis[torch.arange(1, size), torch.arange(size - 1)] = -k
    return basis / (k * (k + 1)).sqrt()
