"""Memory that is used again, step after step."""

from __future__ import annotations

import threading
import weakref

import torch
from torch import Tensor

__all__ = ["Pool"]

LARGE = 1 << 25  # bytes above which the C library gives freed memory back to the system at once


class Pool:
    """Makes tensors; the memory of large ones, once nobody holds it, serves for the next of the
    same size.

    Fresh pages of the system are filled with zeros as they are first touched. That takes longer
    than to fill them with numbers: a quarter of a training step of 100 columns. What is held is at
    most what two steps took.
    """

    def __init__(self) -> None:
        self._free: list[Tensor] = []
        # memory comes back in any thread, also while this one takes some
        self._lock = threading.RLock()

    def empty(self, count: int, dtype: torch.dtype) -> Tensor:
        """An uninitialised tensor (count,) in the memory of the CPU."""
        if count * dtype.itemsize < LARGE:
            return torch.empty(count, dtype=dtype)
        memory = self._take(count, dtype)
        lent = memory.numpy()[:]
        # The storage of the tensor that goes out holds `lent`, and nothing else does.
        weakref.finalize(lent, self._give_back, memory).atexit = False
        return torch.from_numpy(lent)

    def _take(self, count: int, dtype: torch.dtype) -> Tensor:
        with self._lock:
            fitting = [m for m in self._free if m.numel() == count and m.dtype == dtype]
            self._free = [m for m in self._free if not fitting or m is not fitting[0]]
        return fitting[0] if fitting else torch.empty(count, dtype=dtype)

    def _give_back(self, memory: Tensor) -> None:
        with self._lock:
            self._free = [memory, *self._free[:1]]
