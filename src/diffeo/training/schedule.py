"""The learning rate over a run."""

from __future__ import annotations

import math

__all__ = ["learning_rate"]


def learning_rate(
    peak: float, progress: float, *, step: int, warmup: int, floor: float = 0.01
) -> float:
    """Linear warm-up over `warmup` steps, then half a cosine down to `floor` × peak at progress
    1.
    """
    warm = min(1.0, (step + 1) / max(1, warmup))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))
    return peak * warm * (floor + (1 - floor) * cosine)
