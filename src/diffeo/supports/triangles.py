"""Lower triangles as rows of coordinates: what the kinds of matrices share."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.shapes import Shape

__all__ = [
    "diagonal",
    "eye",
    "fill",
    "from_logs",
    "is_cholesky",
    "kept_below",
    "positions",
    "to_logs",
    "triangle",
]


def positions(size: int, offset: int) -> Tensor:
    """Where the entries of a lower triangle are in a flattened matrix, row by row."""
    index: Tensor = torch.tril_indices(size, size, offset)
    return index[0] * size + index[1]


def triangle(shape: Shape, offset: int) -> Shape:
    """The shape of the coordinates of matrices (*shape)."""
    return (*shape[:-2], len(positions(shape[-1], offset)))


def kept_below(shape: Shape) -> Tensor:
    """The mask (*shape) of lower triangles."""
    return torch.ones(shape, dtype=torch.bool).tril()


def diagonal(size: int) -> Tensor:
    """Where the diagonal is among the entries of a lower triangle."""
    return torch.arange(1, size + 1).cumsum(0) - 1


def fill(u: Tensor, size: int, offset: int) -> Tensor:
    """(*, N) -> (*, K, K), row by row into the lower triangle."""
    empty = u.new_zeros(*u.shape[:-1], size * size)
    filled = empty.index_copy(-1, positions(size, offset).to(u.device), u)
    return filled.reshape(*u.shape[:-1], size, size)


def from_logs(u: Tensor, size: int, *, least: float, most: float) -> Tensor:
    """The lower triangle of coordinates whose diagonal is in logarithms, clamped."""
    on = torch.zeros(u.shape[-1], dtype=torch.bool, device=u.device)
    on[diagonal(size)] = True
    return fill(torch.where(on, u.clamp(least, most).exp(), u), size, 0)


def to_logs(lower: Tensor) -> Tensor:
    """The lower triangle row by row, its diagonal as logarithms."""
    logs = lower.diagonal(dim1=-2, dim2=-1).log()
    mixed = lower.tril(-1) + torch.diag_embed(logs)
    return mixed.flatten(-2)[..., positions(lower.shape[-1], 0)]


def is_cholesky(x: Tensor) -> Tensor:
    """Which matrices are lower triangular, finite, with a positive diagonal."""
    positive = (x.diagonal(dim1=-2, dim2=-1) > 0).all(-1)
    return (x.triu(1) == 0).all(-1).all(-1) & positive & x.isfinite().all(-1).all(-1)


def eye(x: Tensor) -> Tensor:
    """The identity matrix of the size, dtype and device of x."""
    return torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
