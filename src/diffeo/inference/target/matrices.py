"""From free real coordinates to constrained matrices and back: Cholesky factors, correlations,
covariances.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from ...core.numerics import sum_event
from ...core.shapes import Shape
from .bijections import TOLERANCE, Bijection

__all__ = ["CorrCholesky", "LowerCholesky", "PositiveDefinite"]


class LowerCholesky(Bijection):
    """L (K, K), lower triangular with a positive diagonal: L_ij = u_ij below the diagonal, L_ii =
    exp(u_ii).

    Coordinates go row by row. log|det| = Σ u_ii, for densities with respect to the entries of the
    lower triangle.

    >>> import torch
    >>> from diffeo.inference.target.matrices import LowerCholesky
    >>> LowerCholesky((2, 2)).inverse(torch.tensor([[0.0, 5.0, 0.0]]))[0]
    tensor([[[1., 0.],
             [5., 1.]]])
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, (*shape[:-2], len(_positions(shape[-1], 0))))
        self.size = shape[-1]

    def value(self, u: Tensor) -> Tensor:
        info = torch.finfo(u.dtype)
        return _lower(u, self.size, math.log(info.tiny), math.log(info.max) - 1)

    def log_det(self, u: Tensor) -> Tensor:
        return sum_event(u[..., _diagonal(self.size)].sum(-1))

    def coordinates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inside = _is_cholesky(x)
        return _coordinates(torch.where(inside[..., None, None], x, _eye(x))), inside

    def kept(self) -> Tensor:
        return super().kept().tril()


class PositiveDefinite(Bijection):
    """Σ = L Lᵀ (K, K) with L as in `LowerCholesky`: symmetric and positive definite.

    log|det| = K log 2 + Σ_i (K − i + 1) u_ii, i = 0 .. K − 1, for densities with respect to the
    lower triangle of Σ (as those of Wishart distributions). Far out Σ is singular to rounding: a
    density that can take L is better off.

    >>> import torch
    >>> from diffeo.inference.target.matrices import PositiveDefinite
    >>> PositiveDefinite((2, 2)).inverse(torch.tensor([[0.0, 2.0, 0.0]]))[0]
    tensor([[[1., 2.],
             [2., 5.]]])
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, (*shape[:-2], len(_positions(shape[-1], 0))))
        self.size = shape[-1]

    def value(self, u: Tensor) -> Tensor:
        info = torch.finfo(u.dtype)  # squares must fit
        lower = _lower(
            u, self.size, 0.5 * math.log(info.tiny), 0.5 * math.log(info.max) - self.size
        )
        return lower @ lower.mT

    def log_det(self, u: Tensor) -> Tensor:
        weights = torch.arange(self.size + 1, 1, -1, dtype=u.dtype, device=u.device)
        return sum_event((weights * u[..., _diagonal(self.size)]).sum(-1) + self.size * math.log(2))

    def coordinates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        size = x.abs().amax((-2, -1), keepdim=True)
        inside = ((x - x.mT).abs() <= TOLERANCE * size).all(-1).all(-1) & x.isfinite().all(-1).all(
            -1
        )
        lower, failed = torch.linalg.cholesky_ex(torch.where(inside[..., None, None], x, _eye(x)))
        inside = inside & (failed == 0)
        return _coordinates(torch.where(inside[..., None, None], lower, _eye(x))), inside

    def kept(self) -> Tensor:
        return super().kept().tril()


class CorrCholesky(Bijection):
    """L (K, K), the Cholesky factor of a correlation matrix: lower triangular, positive diagonal,
    rows of length 1.

    L_ij = tanh(u_ij) √(1 − Σ_{k<j} L_ik²), row by row below the diagonal. log|det| = Σ_{j<i} log(1
    − tanh² u_ij) + ½ log(1 − Σ_{k<j} L_ik²), for densities with respect to the entries below the
    diagonal (as those of LKJ distributions of Cholesky factors). Stan's transform; here in
    logarithms, so that nothing cancels where |L_ij| is near 1.

    >>> import torch
    >>> from diffeo.inference.target.matrices import CorrCholesky
    >>> CorrCholesky((2, 2)).inverse(torch.atanh(torch.tensor([[0.6]])))[0]
    tensor([[[1.0000, 0.0000],
             [0.6000, 0.8000]]])
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, (*shape[:-2], len(_positions(shape[-1], -1))))
        self.size = shape[-1]

    def value(self, u: Tensor) -> Tensor:
        z = _fill(u, self.size, -1)
        room = self._log_room(z).clamp_min(math.log(2 * torch.finfo(u.dtype).tiny)).exp()
        return (torch.tanh(z) + _eye(z)) * room

    def log_det(self, u: Tensor) -> Tensor:
        z = _fill(u, self.size, -1)
        return sum_event((self._log_room(z) + _log_sech2(z)).tril(-1).sum((-2, -1)))

    def coordinates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        square = x.square()
        inside = _is_cholesky(x) & ((square.sum(-1) - 1).abs() < TOLERANCE).all(-1)
        x = torch.where(inside[..., None, None], x, _eye(x))
        # What is left of a row beyond an entry, summed from its far end: 1 − Σ would cancel.
        left = x.square().flip(-1).cumsum(-1).flip(-1)
        beyond = pad(left[..., 1:], (0, 1)).clamp_min(torch.finfo(x.dtype).tiny)
        u = torch.asinh(x / beyond.sqrt())  # atanh of the share of what was left before the entry
        return u.flatten(-2)[..., _positions(self.size, -1)], inside

    def kept(self) -> Tensor:
        kept = super().kept().tril()
        kept[..., 0, 0] = False  # always 1
        return kept

    def _log_room(self, z: Tensor) -> Tensor:
        """½ log(1 − Σ_{k<j} L_ik²) = ½ Σ_{k<j} log(1 − tanh² z_ik), by which entry j of row i is
        shortened.
        """
        return 0.5 * pad(_log_sech2(z)[..., :-1], (1, 0)).cumsum(-1)


def _log_sech2(z: Tensor) -> Tensor:
    """log(1 − tanh² z), exact for any z, with all its derivatives."""
    return logsigmoid(2 * z) + logsigmoid(-2 * z) + math.log(4)


def _lower(u: Tensor, size: int, least: float, most: float) -> Tensor:
    diagonal = torch.zeros(u.shape[-1], dtype=torch.bool, device=u.device)
    diagonal[_diagonal(size)] = True
    return _fill(torch.where(diagonal, u.clamp(least, most).exp(), u), size, 0)


def _coordinates(lower: Tensor) -> Tensor:
    """The lower triangle row by row, its diagonal as logarithms."""
    logs = lower.diagonal(dim1=-2, dim2=-1).log()
    return (lower.tril(-1) + torch.diag_embed(logs)).flatten(-2)[
        ..., _positions(lower.shape[-1], 0)
    ]


def _fill(u: Tensor, size: int, offset: int) -> Tensor:
    """(*, N) -> (*, K, K), row by row into the lower triangle."""
    empty = u.new_zeros(*u.shape[:-1], size * size)
    filled = empty.index_copy(-1, _positions(size, offset).to(u.device), u)
    return filled.reshape(*u.shape[:-1], size, size)


def _positions(size: int, offset: int) -> Tensor:
    index: Tensor = torch.tril_indices(size, size, offset)
    return index[0] * size + index[1]


def _diagonal(size: int) -> Tensor:
    """Where the diagonal is among the entries of a lower triangle."""
    return torch.arange(1, size + 1).cumsum(0) - 1


def _is_cholesky(x: Tensor) -> Tensor:
    diagonal = (x.diagonal(dim1=-2, dim2=-1) > 0).all(-1)
    return (x.triu(1) == 0).all(-1).all(-1) & diagonal & x.isfinite().all(-1).all(-1)


def _eye(x: Tensor) -> Tensor:
    return torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
