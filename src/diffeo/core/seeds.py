"""The global random numbers: seeded for a while by one thread at a time, then put back."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

__all__ = [
    "RandomState",
    "draws",
    "exclusive",
    "random_state",
    "seeded",
    "seeder",
    "set_random_state",
]

RandomState = list[tuple[torch.Generator, Tensor]]
Seeder = Callable[[int], AbstractContextManager[None]]

RANDOM = (
    nn.MultiheadAttention,
    nn.RReLU,
    nn.RNNBase,
    nn.FractionalMaxPool2d,
    nn.FractionalMaxPool3d,
)
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")

_lock = threading.RLock()
_turn: object | None = None  # of the thread that has the lock


@contextlib.contextmanager
def exclusive(turn: object | None = None) -> Iterator[object]:
    """Inside, no other thread is: PyTorch's global generators are one for all threads.

    What it gives is the turn that this thread has. A backward pass may run in threads of autograd,
    for which the thread that has the lock waits: with the turn that its forward pass had, it goes
    on in that turn and does not wait in return.
    """
    global _turn
    if turn is not None and turn is _turn:
        yield turn
        return
    with _lock:
        before = _turn
        try:
            _turn = object() if before is None else before
            yield _turn
        finally:
            _turn = before


@contextlib.contextmanager
def seeded(seed: int | None = None, *, turn: object | None = None) -> Iterator[None]:
    """Inside, the global generators may be (and with `seed` are) seeded; afterwards they are as
    they were.

    One thread at a time is inside, and may go in again, so a seed gives the same numbers in threads
    as alone, unless code that knows nothing of this draws from the global generators meanwhile. So
    what waits for another thread, and callbacks, which might, stay outside.
    """
    with exclusive(turn):
        state = random_state()
        try:
            if seed is not None:
                # torch.manual_seed, without CUDA, spends 2 ms on a stack trace: too much for every
                # training step
                for generator, _ in state:
                    generator.manual_seed(seed)
            yield
        finally:
            set_random_state(state)


def seeder(module: nn.Module) -> Seeder:
    """`seeded` for what runs `module`; where that draws nothing, a context that does nothing and in
    which many threads may be.
    """
    return seeded if draws(module) else _unseeded


def _unseeded(seed: int) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


def draws(module: nn.Module) -> bool:
    """May it draw from the global generators when it is run? Of modules that are neither PyTorch's
    nor diffeo's, it may.
    """
    return any(_draws(part) for part in module.modules())


def _draws(part: nn.Module) -> bool:
    """Does it draw by itself, whatever its children do?"""
    home = type(part).__module__
    known = home.startswith(("torch.nn.", "diffeo."))
    return (
        not known
        or home == "torch.nn.modules.dropout"
        or isinstance(part, RANDOM)
        or getattr(part, "draws", False) is True
        or any(getattr(part, hooks, None) for hooks in HOOKS)
    )


def random_state() -> RandomState:
    """The global generators of the devices in use, and their states."""
    generators = [torch.default_generator]
    if torch.cuda.is_initialized():
        generators += torch.cuda.default_generators
    if torch.backends.mps.is_available():
        generators.append(torch.mps._get_default_mps_generator())
    return [(generator, generator.get_state()) for generator in generators]


def set_random_state(state: RandomState) -> None:
    """Restore what `random_state` returned."""
    for generator, numbers in state:
        generator.set_state(numbers)


def _renew() -> None:
    """A forked process has one thread; whichever had the lock is not in it."""
    global _lock, _turn
    _lock = threading.RLock()
    _turn = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
