"""A learnable mixture of Gaussians."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..core.numerics import full_precision, soft_clamp
from ..core.settings import whole
from .base import Base, randn

__all__ = ["GaussianMixture"]


class GaussianMixture(Base):
    """p(z) = Σ_k w_k N(z; μ_k, diag σ_k²), all of w, μ, σ learnable.

    Its means start on a standard normal cloud (`seed`), its scales at one, its weights equal. A
    temperature scales every σ_k. Draws choose a component at random and have the gradients by its μ
    and σ; that by w is implicit, of the conditional distribution functions entry by entry (Graves
    2016, arXiv:1607.05690; Figurnov et al. 2018, arXiv:1805.08498). Raises `ConfigError` when
    components < 1.

    >>> import diffeo
    >>> diffeo.bases.GaussianMixture((2,), components=3).sample((5,)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self, event_shape: int | Sequence[int], components: int = 8, *, seed: int = 0
    ) -> None:
        super().__init__(event_shape)
        whole("components", components)
        size = (components, math.prod(self.event_shape))
        start = torch.randn(size, generator=torch.Generator().manual_seed(seed), device="cpu")
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(start.to(self.logits))
        self.log_scale = nn.Parameter(torch.zeros(size))

    def draw(self, n: int, temperature: float, generator: torch.Generator | None) -> Tensor:
        noise = randn((n, self.loc.shape[1]), self.loc, generator)
        device = generator.device if generator is not None else self.logits.device
        weights = self.logits.detach().softmax(0).to(device)
        k = (
            torch.multinomial(weights, n, replacement=True, generator=generator).to(self.loc.device)
            if n
            else noise[:, 0].long()
        )
        x = self.loc[k] + temperature * self._log_sigma()[k].exp() * noise
        if n and torch.is_grad_enabled() and self.logits.requires_grad:
            x = x - self._by_weights(x.detach(), temperature)
        return x.reshape(n, *self.event_shape)

    def _by_weights(self, x: Tensor, temperature: float) -> Tensor:
        """Zeros (n, D) whose gradient by the weights is −∂x/∂w at fixed F(x; w).

        F_d(x) = Σ_k r_kd Φ_kd is the distribution function of x_d given the entries before it, with
        shares r_kd ∝ w_k Π_{j<d} N_kj. With s_kj = ∂ log N_kj / ∂x_j its Jacobian is lower
        triangular, of entries Σ_k r_kd (Φ_kd − F_d) s_kj and, on the diagonal, the conditional
        densities Σ_k r_kd N_kd.
        """
        sigma = temperature * self._log_sigma().detach().exp()
        z = (x[:, None] - self.loc.detach()) / sigma  # (n, K, D)
        log_each = -0.5 * z.square() - sigma.log() - 0.5 * math.log(2 * math.pi)
        before = log_each.cumsum(2) - log_each
        shares = (self.logits.log_softmax(0)[:, None] + before).softmax(1)
        cdf = torch.special.ndtr(z)
        joint = (shares * cdf).sum(1)
        r = shares.detach()
        jacobian = torch.einsum(
            "nkd,nkj->ndj", r * (cdf - joint.detach()[:, None]), -z / sigma
        ).tril(-1)
        jacobian = (
            jacobian + (r * log_each.exp()).sum(1).clamp_min(torch.finfo(x.dtype).tiny).diag_embed()
        )
        gap = (joint - joint.detach())[..., None]
        by_weights: Tensor = torch.linalg.solve_triangular(jacobian, gap, upper=False)[..., 0]
        return by_weights

    def density(self, x: Tensor, temperature: float = 1.0) -> Tensor:
        log_sigma = self._log_sigma() + math.log(temperature)
        scaled = (full_precision(x).flatten(1)[:, None] - self.loc) * torch.exp(-log_sigma)
        each = -0.5 * scaled.square() - log_sigma - 0.5 * math.log(2 * math.pi)
        return torch.logsumexp(each.sum(-1) + self.logits.log_softmax(0), dim=1)

    def _log_sigma(self) -> Tensor:
        return soft_clamp(self.log_scale, 7.0)
