"""A mixture of Gaussians that is put somewhere and stays there."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.errors import ShapeError
from ..core.numerics import full_precision
from .base import Base, randn

__all__ = ["PlacedMixture"]


class PlacedMixture(Base):
    """p(z) = Σ_k w_k N(z; μ_k, L_k L_kᵀ) with given weights (K,), means (K, D) and Cholesky factors
    (K, D, D); not trained.

    Where the modes of a target are known a flow that starts from them keeps them. `weigh` sets the
    weights, which need not add up to one. A temperature scales every L_k. Raises `ShapeError` when
    the three do not fit.

    >>> import torch, diffeo
    >>> base = diffeo.bases.PlacedMixture(
    ...     torch.ones(2), torch.tensor([[-4.0], [4.0]]), torch.ones(2, 1, 1))
    >>> base.sample((5,)).shape, round(float(base.log_prob(torch.tensor([4.0]))), 3)
    (torch.Size([5, 1]), -1.612)
    """

    log_weights: Tensor
    means: Tensor
    lowers: Tensor
    whitening: Tensor

    def __init__(self, weights: Tensor, means: Tensor, lowers: Tensor) -> None:
        k, d = means.shape
        if weights.shape != (k,) or lowers.shape != (k, d, d):
            raise ShapeError(
                f"weights (K,), means (K, D) and factors (K, D, D) do not fit: {(*weights.shape,)},"
                f" {(k, d)}, {(*lowers.shape,)}"
            )
        super().__init__(d)
        dtype = torch.get_default_dtype()
        self.register_buffer("log_weights", torch.zeros(k, dtype=dtype))
        self.register_buffer("means", means.to(dtype))
        self.register_buffer("lowers", lowers.tril().to(dtype))
        whitening = torch.linalg.solve_triangular(
            lowers.double(), torch.eye(d, dtype=torch.float64), upper=False
        )
        self.register_buffer("whitening", whitening.to(dtype))
        self.weigh(weights)

    @torch.no_grad()
    def weigh(self, weights: Tensor) -> None:
        """Set the weights (K,)."""
        self.log_weights.copy_((weights / weights.sum()).log())

    def draw(self, n: int, temperature: float, generator: torch.Generator | None) -> Tensor:
        noise = randn((n, self.means.shape[1]), self.means, generator)
        device = generator.device if generator is not None else self.means.device
        weights = self.log_weights.exp().to(device)
        k = (
            torch.multinomial(weights, n, replacement=True, generator=generator).to(
                self.means.device
            )
            if n
            else noise[:, 0].long()
        )
        return self.means[k] + temperature * torch.einsum("nij,nj->ni", self.lowers[k], noise)

    def density(self, x: Tensor, temperature: float = 1.0) -> Tensor:
        log_prob = self.each(x, temperature).logsumexp(1)
        # Far out infinities meet the zeros of the factors.
        return log_prob.masked_fill(log_prob.isnan() & ~x.isnan().any(1), -math.inf)

    def each(self, x: Tensor, temperature: float = 1.0) -> Tensor:
        """log w_k N(x; μ_k, L_k L_kᵀ) of every component, (B, K)."""
        away = full_precision(x)[:, None] - self.means
        scaled = torch.einsum("kij,nkj->nki", self.whitening, away) / temperature
        log_scale = self.lowers.diagonal(dim1=1, dim2=2).log().sum(1) + x.shape[1] * math.log(
            temperature
        )
        return (
            -0.5 * scaled.square().sum(2)
            - log_scale
            - 0.5 * x.shape[1] * math.log(2 * math.pi)
            + self.log_weights
        )
