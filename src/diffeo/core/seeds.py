"""The global random numbers: seeded for a while, then put back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["random_state", "reseed", "seeded", "set_random_state"]


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


def random_state(device: torch.device) -> tuple[torch.Tensor, ...]:
    """The states of the global generators that work on a device draws from."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    elif device.type == "mps":
        states.append(torch.mps.get_rng_state())
    return tuple(states)


def set_random_state(device: torch.device, states: tuple[torch.Tensor, ...]) -> None:
    """Put back what `random_state` found."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states[1])
