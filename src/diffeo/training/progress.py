"""What a run says while it goes on."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..core.text import visible

__all__ = ["Progress", "print_progress", "progress_callback"]

PAUSE = 5.0  # seconds between two lines


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for bars and log lines. Losses are in `unit`."""

    step: int
    fraction: float
    loss: float
    valid: float | None
    seconds: float
    unit: str = "nats per row"
    note: str | None = None
    """What to say in place of losses, where there are none."""

    def __str__(self) -> str:
        if self.note is not None:
            return self.note
        valid = "" if self.valid is None else f"   held-out {self.valid:.4f}"
        return f"training {self.loss:.4f}{valid}   {self.unit}"


def print_progress() -> Callable[[Progress], None]:
    """A callback that prints a plain line to stderr, at most every five seconds."""
    last = -math.inf

    def tell(p: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= PAUSE or p.fraction >= 1:
            last = time.monotonic()
            line = f"step {p.step}  {min(p.fraction, 1.0):4.0%}  {p}  {p.seconds:.0f} s"
            print(visible(line), file=sys.stderr)

    return tell


def progress_callback(
    progress: bool | Callable[[Progress], None],
) -> Callable[[Progress], None] | None:
    """What `progress=` asks for: a callback as it is, plain lines for True, nothing for False."""
    if callable(progress):
        return progress
    return print_progress() if progress else None
