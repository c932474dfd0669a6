"""Batches of base noise, a function of seed and step: what variational objectives are fed by the
loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.distribution import Distribution
from ...training.sampler import mix

__all__ = ["NoiseBatches"]

TRAIN, HELD = 6, 7  # streams of random numbers


@dataclass
class NoiseBatches:
    """Batch k is `size` draws of the base from (seed, k), so a resumed run sees the same noise."""

    base: Distribution
    size: int
    seed: int = 0
    steps_per_epoch: int | None = None

    def batch(self, step: int) -> tuple[Tensor, ...]:
        return (self._draw(TRAIN, step, self.size),)

    def held_out(self, count: int) -> list[Tensor]:
        """Noise that no training step sees, to compare weights on."""
        return [self._draw(HELD, 0, count)]

    def rows(self, step: int) -> Sequence[int]:
        return range(self.size)

    def _draw(self, stream: int, step: int, count: int) -> Tensor:
        generator = torch.Generator().manual_seed(mix(self.seed, stream, step))
        return self.base.sample((count,), generator=generator)
