"""Cholesky factors of correlation matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import pad

from ..core.numerics import sum_event
from ..core.open_ends import log_sigmoid_slope
from ..core.shapes import Shape
from .base import Event
from .simplex import TOLERANCE
from .triangles import eye, fill, is_cholesky, kept_below, positions, triangle

__all__ = ["CorrCholesky"]


@dataclass(frozen=True)
class CorrCholesky(Event):
    """L (K, K), the Cholesky factor of a correlation matrix: lower triangular, positive diagonal,
    rows of length 1.

    L_ij = tanh(u_ij) √(1 − Σ_{k<j} L_ik²), row by row below the diagonal. log|det| = Σ_{j<i} log(1
    − tanh² u_ij) + ½ log(1 − Σ_{k<j} L_ik²), for densities with respect to the entries below the
    diagonal (as those of LKJ distributions of Cholesky factors). Stan's transform; here in
    logarithms, so that nothing cancels where |L_ij| is near 1.

    >>> CorrCholesky().value(torch.atanh(torch.tensor([[0.6]])), (2, 2))
    tensor([[[1.0000, 0.0000],
             [0.6000, 0.8000]]])
    """

    form: ClassVar[str] = "corr_cholesky"
    example: ClassVar[str] = "corr_cholesky"
    axes: ClassVar[int] = 2

    @classmethod
    def named(cls, constraint: Any) -> bool:
        return isinstance(constraint, type(constraints.corr_cholesky))

    def latent(self, shape: Shape) -> Shape:
        return triangle(shape, -1)

    def value(self, u: Tensor, shape: Shape) -> Tensor:
        z = fill(u, shape[-1], -1)
        room = _log_room(z).clamp_min(math.log(2 * torch.finfo(u.dtype).tiny)).exp()
        return (torch.tanh(z) + eye(z)) * room

    def log_det(self, u: Tensor, shape: Shape) -> Tensor:
        z = fill(u, shape[-1], -1)
        return sum_event((_log_room(z) + _log_sech2(z)).tril(-1).sum((-2, -1)))

    def coordinates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        square = x.square()
        inside = is_cholesky(x) & ((square.sum(-1) - 1).abs() < TOLERANCE).all(-1)
        x = torch.where(inside[..., None, None], x, eye(x))
        # What is left of a row beyond an entry, summed from its far end: 1 − Σ would cancel.
        left = x.square().flip(-1).cumsum(-1).flip(-1)
        beyond = pad(left[..., 1:], (0, 1)).clamp_min(torch.finfo(x.dtype).tiny)
        u = torch.asinh(x / beyond.sqrt())  # atanh of the share of what was left before the entry
        return u.flatten(-2)[..., positions(x.shape[-1], -1)], inside

    def kept(self, shape: Shape) -> Tensor:
        kept = kept_below(shape)
        kept[..., 0, 0] = False  # always 1
        return kept


def _log_sech2(z: Tensor) -> Tensor:
    """log(1 − tanh² z), exact for any z, with all its derivatives."""
    return log_sigmoid_slope(2 * z) + math.log(4)


def _log_room(z: Tensor) -> Tensor:
    """½ log(1 − Σ_{k<j} L_ik²) = ½ Σ_{k<j} log(1 − tanh² z_ik), by which entry j of row i is
    shortened.
    """
    return 0.5 * pad(_log_sech2(z)[..., :-1], (1, 0)).cumsum(-1)
