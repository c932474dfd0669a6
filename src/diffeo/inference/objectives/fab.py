"""Flow annealed importance sampling bootstrap: points from annealing go to a buffer that the flow
learns from.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.streams import Stream, generator_for
from ...flow import Flow
from ..target.density import LogDensity
from .ais import AnnealedSampler
from .divergences import VariationalObjective

__all__ = ["FAB"]

CLIP = 10.0  # of the correction for how old a point of the buffer is


class FAB(VariationalObjective):
    """−E_g [w log q(x)], g ∝ p̃²/q: minimises the α = 2 divergence, which punishes every mode that
    q leaves out.

    Points come from annealed importance sampling every `refresh` steps and go to a buffer of
    `capacity` points, from which batches are drawn in proportion to their weights; weights follow q
    as it changes. Buffer and step sizes are part of the state. Midgley et al. 2023,
    arXiv:2208.01893.
    """

    points: Tensor
    log_w: Tensor
    log_q: Tensor
    calls: Tensor

    def __init__(
        self,
        flow: Flow,
        target: LogDensity,
        *,
        levels: int = 4,
        leapfrogs: int = 5,
        capacity: int = 20_000,
        refresh: int = 4,
        step_size: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(flow, target)
        self.sampler = AnnealedSampler(
            target, levels=levels, leapfrogs=leapfrogs, step_size=step_size
        )
        self.refresh = refresh
        self.seed = seed
        self.register_buffer("points", torch.zeros(capacity, *flow.event_shape))
        self.register_buffer("log_w", torch.full((capacity,), -torch.inf, dtype=torch.float64))
        self.register_buffer("log_q", torch.zeros(capacity, dtype=torch.float64))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def losses(self, z: Tensor) -> Tensor:
        generator = generator_for(self.seed, Stream.FAB, int(self.calls))
        if int(self.calls) % self.refresh == 0:
            self._refill(z, generator)
        self.calls += 1
        weights = self.log_w.softmax(0).to(generator.device)
        chosen = torch.multinomial(weights, len(z), replacement=True, generator=generator).to(
            self.log_w.device
        )
        log_q = self.flow.log_prob(self.points[chosen])
        # The weight of a point is g/q at the time it was noted: both have changed by as much as q
        # has.
        drift = (self.log_q[chosen] - log_q.detach()).clamp(-CLIP, CLIP)
        self.log_w[chosen] += drift
        self.log_q[chosen] = log_q.detach().double()
        return -drift.exp().clamp_max(CLIP).to(log_q) * log_q

    @torch.no_grad()
    def _refill(self, z: Tensor, generator: torch.Generator) -> None:
        """Overwrite the oldest points."""
        x, log_w = self.sampler(self.flow, z, generator)
        kept = log_w.isfinite() & x.flatten(1).isfinite().all(1)
        x = x[kept]
        log_w = log_w[kept]
        first = int(self.calls) // self.refresh * len(z) % len(self.points)
        rows = (first + torch.arange(len(x), device=x.device)) % len(self.points)
        self.points[rows] = x.to(self.points)
        self.log_w[rows] = log_w.double()
        self.log_q[rows] = self.flow.log_prob(x).double()
