"""Annealed importance sampling from a flow towards where its importance weights are largest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...flow import Flow
from ..chains.hmc import hmc_step
from ..target.density import LogDensity

__all__ = ["AnnealedSampler"]

WANTED = 0.65  # share of accepted moves
RATE = 1.05  # step sizes change by this factor


class AnnealedSampler(nn.Module):
    """Points of g ∝ p̃²/q with weights, from points of q: `levels` densities q^(1−b) g^b, b = 0 …
    1, an HMC move at each.

    log w = Σ_i (b_{i+1} − b_i) (log g − log q)(x_i). Step sizes, one a level, follow the acceptance
    and are part of the state. Neal 2001 (arXiv:physics/9803008), with this target Midgley et al.
    2023 (FAB, arXiv:2208.01893).
    """

    step_size: Tensor

    def __init__(
        self, target: LogDensity, *, levels: int = 4, leapfrogs: int = 5, step_size: float = 0.1
    ) -> None:
        super().__init__()
        self.target = target
        self.leapfrogs = leapfrogs
        self.register_buffer("step_size", torch.full((levels,), step_size))

    def forward(self, flow: Flow, z: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Base noise z (B, D) -> points (B, D) and log weights (B,), without gradients."""
        with torch.no_grad():
            x, _ = flow.decode(z)
        levels = len(self.step_size)
        log_w = x.new_zeros(len(x))
        for i in range(levels + 1):
            log_w = log_w + self._gain(flow, x) / (levels + 1)
            if i < levels:
                x = self._move(flow, x, level=i, generator=generator)
        return x, log_w

    @torch.no_grad()
    def _gain(self, flow: Flow, x: Tensor) -> Tensor:
        """log g − log q = 2 (log p̃ − log q)."""
        return 2 * (self.target(x) - flow.log_prob(x))

    def _move(self, flow: Flow, x: Tensor, *, level: int, generator: torch.Generator) -> Tensor:
        b = (level + 1) / (len(self.step_size) + 1)

        def between(u: Tensor) -> Tensor:
            return (1 - 2 * b) * flow.log_prob(u) + 2 * b * self.target(u)

        x, _, chance = hmc_step(
            between,
            x,
            step_size=float(self.step_size[level]),
            leapfrogs=self.leapfrogs,
            generator=generator,
        )
        self.step_size[level] *= RATE if float(chance.mean()) > WANTED else 1 / RATE
        return x
