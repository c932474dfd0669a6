"""What ends a search early: a signal, or the limit of time."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from ...runs import StopRequest

__all__ = ["Limits"]

MOST_RESERVED = 0.4  # of the time left, for weighting draws


@dataclass
class Limits:
    """The deadline, in seconds of `time.monotonic()`, and the request to stop."""

    deadline: float = math.inf
    stop: StopRequest = field(default_factory=StopRequest)
    exceeded: bool = False
    """Has the limit of time ended training or chains early, to leave some for weighting draws?"""

    def stopped(self) -> bool:
        """Did a signal ask for a stop?"""
        return self.stop.signum is not None

    def late(self) -> bool:
        """Has the deadline come, or ended anything early?"""
        return self.exceeded or time.monotonic() >= self.deadline

    def should_stop(self) -> bool:
        """Was a stop asked for, or has the time come?"""
        return self.stopped() or self.late()

    def reserve(self, seconds: float) -> float:
        """When to end for `seconds` to be left before the deadline, or a share of what is left."""
        left = max(0.0, self.deadline - time.monotonic())
        return self.deadline - min(seconds, MOST_RESERVED * left)
