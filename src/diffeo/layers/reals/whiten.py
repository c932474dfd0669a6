"""A fixed linear map that makes a Gaussian standard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.linalg import solve_triangular

from ...core.errors import ShapeError
from ...core.numerics import covariance_of, full_precision
from ..fixed_shape import FixedShape

__all__ = ["Whiten"]


class Whiten(FixedShape):
    """y = L⁻¹ (x − μ) with L lower triangular, log|det| = −Σ log L_ii: N(μ, L Lᵀ) becomes N(0, I).
    Not trained.

    The identity until `place` or `initialize` (mean and covariance of a batch, with a little of the
    variances added to the diagonal) sets it; both are part of the state. With
    `data_dtype="float64"` it takes and returns float64, computes in it, and hands on the model's
    own dtype: for coordinates of very unlike scales. Raises `ShapeError` for events that are no
    vectors.

    >>> import torch, diffeo
    >>> layer = diffeo.layers.Whiten(2)
    >>> layer.place(torch.tensor([1.0, 0.0]), torch.tensor([[2.0, 0.0], [1.0, 1.0]]))
    >>> layer(torch.tensor([[3.0, 1.0]]))[0]
    tensor([[1., 0.]])
    """

    mean: Tensor
    lower: Tensor
    _like: Tensor

    def __init__(
        self, event_shape: int | Sequence[int], *, data_dtype: Literal["float64"] | None = None
    ) -> None:
        super().__init__(event_shape)
        self.data_dtype = None if data_dtype is None else torch.float64
        self.any_dtype = self.settles_dtype = data_dtype is not None
        if len(self.event_shape) != 1:
            raise ShapeError(
                f"Whiten takes vectors (D,), not {self.event_shape}: put layers.Flatten before it"
            )
        self.register_buffer("mean", torch.zeros(self.event_shape, dtype=self.data_dtype))
        self.register_buffer("lower", torch.eye(self.event_shape[0], dtype=self.data_dtype))
        self.register_buffer("_like", torch.zeros(()), persistent=False)  # has the model's dtype

    @torch.no_grad()
    def place(self, mean: Tensor, lower: Tensor) -> None:
        """Set μ (D,) and L (D, D)."""
        self.mean.copy_(mean)
        self.lower.copy_(lower.tril())

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        self.check(x)
        x = x.double()
        variance = x.var(0, correction=0).clamp_min(1e-12)
        covariance = covariance_of(x) + (1e-6 * variance).diag()
        self.place(x.mean(0), torch.linalg.cholesky(covariance))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        with torch.autocast(x.device.type, enabled=False):
            away = full_precision(x).to(self.mean.dtype) - self.mean
            y = solve_triangular(self.lower, away.T, upper=False).T
            if self.data_dtype is not None:
                y = y.to(self._like.dtype)
            return y, (-self._log_scale()).expand(x.shape[0])

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(y)
        with torch.autocast(y.device.type, enabled=False):
            x = full_precision(y).to(self.mean.dtype) @ self.lower.T + self.mean
            return x, self._log_scale().expand(y.shape[0])

    def _log_scale(self) -> Tensor:
        return self.lower.diagonal().log().sum()
