"""Glow's invertible 1×1 convolution, in three parametrisations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ...core.buffers import is_permutation_matrix
from ...core.numerics import full_precision, soft_clamp
from ...core.settings import one_of
from ..fixed_shape import FixedShape

__all__ = ["Conv1x1"]

LOG_DIAGONAL = 3.0  # the diagonal of U stays within exp(±3)
Kind = Literal["plain", "plu", "householder"]


class Conv1x1(FixedShape):
    """y_ij = W x_ij at every pixel, log|det| = HW log|det W|; W, (C, C), starts as a random
    rotation.

    `kind="plain"`: W itself is learned, its determinant and inverse found anew each time. `"plu"`:
    W = P L U with P fixed; log|det W| is a sum and stays bounded. `"householder"`: a product of C
    reflections, always a rotation, so log|det| = 0. Always in float32 or float64, also under
    autocast. Glow, Kingma & Dhariwal 2018, arXiv:1807.03039; Householder: Tomczak & Welling 2016,
    arXiv:1611.09630. Raises `ConfigError` for another `kind`.

    >>> import torch, diffeo
    >>> layer = diffeo.layers.Conv1x1((4, 8, 8))
    >>> layer(torch.zeros(5, 4, 8, 8))[0].shape
    torch.Size([5, 4, 8, 8])
    """

    def __init__(self, event_shape: int | Sequence[int], kind: Kind = "plu") -> None:
        super().__init__(event_shape)
        kinds: dict[str, Callable[[int], _Matrix]] = {
            "plain": _Plain,
            "plu": _PLU,
            "householder": _Householder,
        }
        self.kind = one_of("kind", kind, kinds)
        self.matrix: _Matrix = kinds[kind](self.event_shape[0])
        self.each = prod(self.event_shape[1:])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        with torch.autocast(x.device.type, enabled=False):
            weight, logdet = self.matrix.forward()
            return _mix(full_precision(x), weight), (logdet * self.each).expand(x.shape[0])

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(y)
        with torch.autocast(y.device.type, enabled=False):
            weight, logdet = self.matrix.inverse()
            return _mix(full_precision(y), weight), (logdet * self.each).expand(y.shape[0])

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}, kind={self.kind!r}"


def _mix(x: Tensor, weight: Tensor) -> Tensor:
    # On channels-last images this is one matrix product without a copy.
    mixed: Tensor = linear(x.movedim(1, -1), weight).movedim(-1, 1)
    return mixed


def _rotation(size: int) -> Tensor:
    rotation: Tensor = torch.linalg.qr(torch.randn(size, size))[0]
    return rotation


class _Matrix(nn.Module, ABC):
    """An invertible (C, C) matrix and log|det| of it."""

    @abstractmethod
    def forward(self) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def inverse(self) -> tuple[Tensor, Tensor]: ...


class _Plain(_Matrix):
    """W as it is."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(_rotation(size))

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.weight, torch.linalg.slogdet(self.weight)[1]

    def inverse(self) -> tuple[Tensor, Tensor]:
        return torch.linalg.inv(self.weight), -torch.linalg.slogdet(self.weight)[1]


class _PLU(_Matrix):
    """W = P L U: L unit lower, U upper triangular with diagonal ±exp(s), s softly bounded; P and
    the signs are fixed.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        permutation, lower, upper = torch.linalg.lu(_rotation(size))
        diagonal = upper.diagonal()
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))
        bounded = diagonal.abs().log().clamp(-0.9 * LOG_DIAGONAL, 0.9 * LOG_DIAGONAL)
        self.log_diagonal = nn.Parameter(LOG_DIAGONAL * torch.atanh(bounded / LOG_DIAGONAL))
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", torch.where(diagonal < 0, -1.0, 1.0))

    def buffer_fault(self, buffers: Mapping[str, Tensor]) -> str | None:
        """P has to be a permutation and the signs ±1, or log|det W| is not the sum."""
        if not is_permutation_matrix(buffers["permutation"]):
            return "permutation is no permutation matrix"
        if not bool((buffers["sign"].abs() == 1).all()):
            return "sign holds numbers other than 1 and −1"
        return None

    def forward(self) -> tuple[Tensor, Tensor]:
        lower, upper, logdet = self._factors()
        return self.permutation @ lower @ upper, logdet

    def inverse(self) -> tuple[Tensor, Tensor]:
        lower, upper, logdet = self._factors()
        middle = torch.linalg.solve_triangular(
            lower, self.permutation.T, upper=False, unitriangular=True
        )
        return torch.linalg.solve_triangular(upper, middle, upper=True), -logdet

    def _factors(self) -> tuple[Tensor, Tensor, Tensor]:
        log_diagonal = soft_clamp(self.log_diagonal, LOG_DIAGONAL)
        eye = torch.eye(len(log_diagonal), dtype=log_diagonal.dtype, device=log_diagonal.device)
        return (
            self.lower.tril(-1) + eye,
            self.upper.triu(1) + (self.sign * log_diagonal.exp()).diag(),
            log_diagonal.sum(),
        )


class _Householder(_Matrix):
    """W = Π (I − 2 v vᵀ/|v|²)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(size, size))

    def forward(self) -> tuple[Tensor, Tensor]:
        weight = torch.eye(len(self.vectors), dtype=self.vectors.dtype, device=self.vectors.device)
        for v in self.vectors:
            weight = weight - torch.outer(weight @ v, v) * (2 / v.square().sum().clamp_min(1e-12))
        return weight, weight.new_zeros(())

    def inverse(self) -> tuple[Tensor, Tensor]:
        weight, logdet = self.forward()
        return weight.T, logdet
