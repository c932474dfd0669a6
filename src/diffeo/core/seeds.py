"""The global random numbers: seeded for a while, then put back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["reseed", "seeded"]


def reseed(seed: int) -> None:
    """Seed the global generators of the devices in use.

    `torch.manual_seed` does the same and, without CUDA, spends 2 ms on a stack trace: too much for every training step.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


@contextlib.contextmanager
def seeded(seed: int | None = None) -> Iterator[None]:
    """Inside, the global generators may be (and with `seed` are) seeded; afterwards they are as they were."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        if seed is not None:
            reseed(seed)
        yield
