"""Batches of base noise, a function of seed and step: what variational objectives are fed by the
loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ...core.distribution import Distribution
from ...core.streams import Stream, generator_for

__all__ = ["NoiseBatches"]


@dataclass(kw_only=True)
class NoiseBatches:
    """Batch k is `size` draws of the base from (seed, k), so a resumed run sees the same noise."""

    base: Distribution
    size: int
    seed: int = 0
    steps_per_epoch: int | None = None

    def batch(self, step: int) -> tuple[Tensor, ...]:
        return (self._draw(Stream.NOISE_BATCHES, step, self.size),)

    def held_out(self, count: int) -> list[Tensor]:
        """Noise that no training step sees, to compare weights on."""
        return [self._draw(Stream.NOISE_VALIDATION, 0, count)]

    def rows(self, step: int) -> Sequence[int]:
        return range(self.size)

    def _draw(self, stream: Stream, step: int, count: int) -> Tensor:
        generator = generator_for(self.seed, stream, step)
        return self.base.sample((count,), generator=generator)
