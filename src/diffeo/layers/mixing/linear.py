"""A learned linear map of the whole vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ...core.numerics import full_precision, soft_clamp
from ...core.settings import whole
from ..fixed_shape import FixedShape

__all__ = ["LULinear"]

LOG_DIAGONAL = 3.0  # the diagonal of U stays within exp(±3)


class LULinear(FixedShape):
    """y = L U x + b, L unit lower and U upper triangular, log|det| = Σ log U_ii; the identity at
    first.

    Raises `ConfigError` unless the size is at least 1. The inverse solves two triangular systems,
    D² operations a row. Always in float32 or float64, also under autocast. Oliva et al. 2018
    (arXiv:1801.09819); Durkan et al. 2019 (arXiv:1906.04032).

    >>> import torch, diffeo
    >>> layer = diffeo.layers.LULinear(3)
    >>> torch.equal(layer(torch.ones(1, 3))[0], torch.ones(1, 3))
    True
    """

    def __init__(self, size: int) -> None:
        super().__init__(whole("size", size))
        self.lower = nn.Parameter(torch.zeros(size, size))
        self.upper = nn.Parameter(torch.zeros(size, size))
        self.log_diagonal = nn.Parameter(torch.zeros(size))
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        with torch.autocast(x.device.type, enabled=False):
            lower, upper, logdet = self._factors()
            return linear(full_precision(x), lower @ upper, self.bias), logdet.expand(x.shape[0])

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(y)
        with torch.autocast(y.device.type, enabled=False):
            lower, upper, logdet = self._factors()
            middle = torch.linalg.solve_triangular(
                lower, (full_precision(y) - self.bias).T, upper=False, unitriangular=True
            )
            return torch.linalg.solve_triangular(upper, middle, upper=True).T, -logdet.expand(
                y.shape[0]
            )

    def _factors(self) -> tuple[Tensor, Tensor, Tensor]:
        log_diagonal = soft_clamp(self.log_diagonal, LOG_DIAGONAL)
        eye = torch.eye(len(self.bias), dtype=self.bias.dtype, device=self.bias.device)
        return (
            self.lower.tril(-1) + eye,
            self.upper.triu(1) + log_diagonal.exp().diag(),
            log_diagonal.sum(),
        )
