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

    Its means start on a standard normal cloud (`seed`), its scales at one, its weights equal. Draws choose the
    component at random, so their gradients reach μ and σ but not w. A temperature scales every σ_k.
    Raises `ConfigError` when components < 1.

    >>> import diffeo
    >>> diffeo.bases.GaussianMixture((2,), components=3).sample((5,)).shape
    torch.Size([5, 2])
    """

    def __init__(self, event_shape: int | Sequence[int], components: int = 8, *, seed: int = 0) -> None:
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
        k = torch.multinomial(weights, n, replacement=True, generator=generator).to(self.loc.device) if n else noise[:, 0].long()
        x = self.loc[k] + temperature * self._log_sigma()[k].exp() * noise
        return x.reshape(n, *self.event_shape)

    def density(self, x: Tensor, temperature: float = 1.0) -> Tensor:
        log_sigma = self._log_sigma() + math.log(temperature)
        scaled = (full_precision(x).flatten(1)[:, None] - self.loc) * torch.exp(-log_sigma)
        each = -0.5 * scaled.square() - log_sigma - 0.5 * math.log(2 * math.pi)
        return torch.logsumexp(each.sum(-1) + self.logits.log_softmax(0), dim=1)

    def _log_sigma(self) -> Tensor:
        return soft_clamp(self.log_scale, 7.0)
