"""Batches as a function of (seed, step): nothing to remember, so nothing to get wrong on resume."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..core.arrays import has_mask
from ..core.errors import DataError
from ..core.seeds import seeded
from ..core.streams import Stream, generator_for, mix
from ..core.tensors import to_tensor

__all__ = ["ArrayBatches", "Batches", "StreamBatches"]


class Batches(Protocol):
    """Where the trainer gets its batches from."""

    steps_per_epoch: int | None

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """The batch of a step, on the training device."""

    def rows(self, step: int) -> Sequence[int]:
        """The row numbers of that batch in the user's data, for messages."""


class ArrayBatches:
    """Rows in memory; every epoch is a new permutation made from (seed, epoch), its last short
    batch dropped.
    """

    def __init__(
        self,
        arrays: Sequence[Tensor],
        row_numbers: Tensor,
        *,
        batch_size: int,
        seed: int,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.arrays = arrays
        self.row_numbers = row_numbers
        self.seed = seed
        self.size = min(batch_size, len(arrays[0]))
        self.steps_per_epoch: int | None = len(arrays[0]) // self.size
        self.share = share
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.long)

    def batch(self, step: int) -> tuple[Tensor, ...]:
        index = self._index(step).to(self.arrays[0].device)
        return tuple(a.index_select(0, index) for a in self.arrays)

    def rows(self, step: int) -> Sequence[int]:
        return [int(i) for i in self.row_numbers[self._index(step)]]

    def _index(self, step: int) -> Tensor:
        epoch, k = divmod(step, self.steps_per_epoch or 1)
        if epoch != self._epoch:
            generator = generator_for(self.seed, Stream.BATCHES, epoch)
            self._epoch = epoch
            self._order = torch.randperm(len(self.arrays[0]), generator=generator)
        rank, ranks = self.share
        return self._order[k * self.size + rank : (k + 1) * self.size : ranks]


class StreamBatches:
    """Batches from an iterable of tensors or tuples of tensors, started again when it ends.

    The global generators are seeded for each batch, at the start of a pass by (seed, pass), so a
    `DataLoader` that shuffles, and batches that are drawn when they are asked for, are the same in
    a resumed run and in threads. One thread at a time takes a batch.
    """

    def __init__(self, source: Iterable[Any], device: torch.device, seed: int = 0) -> None:
        self.source = source
        self.device = device
        self.seed = seed
        self.steps_per_epoch: int | None = None
        self._rewind()

    def batch(self, step: int) -> tuple[Tensor, ...]:
        if step < self._next:
            self._rewind()
        while self._next < step:  # resume: pass over what was seen before
            self._take()
        return tuple(t.to(self.device) for t in self._take())

    def rows(self, step: int) -> Sequence[int]:
        return range(10**9)  # a stream has no row numbers: count within the batch

    def _rewind(self) -> None:
        self._next = 0
        self._passes = 0
        self._iterator: Iterator[Any] = iter(())

    def _take(self) -> tuple[Tensor, ...]:
        self._next += 1
        item = self._drawn(mix(self.seed, Stream.ITERABLE, self._passes, self._next))
        if item is None:
            item = self._drawn(mix(self.seed, Stream.ITERABLE, self._passes), again=True)
        if item is None:
            raise DataError(
                "the iterable of batches is exhausted: pass one that can be iterated again, such as"
                " a list"
            )
        parts = item if isinstance(item, (tuple, list)) else (item,)
        return tuple(
            p if isinstance(p, Tensor) else _whole(f"batch {self._next - 1}", p) for p in parts
        )

    def _drawn(self, seed: int, *, again: bool = False) -> Any:
        """The next of this pass, or the first of another; None when there is none."""
        with seeded(seed):
            if again:
                self._passes += 1
                self._iterator = iter(self.source)
            return next(self._iterator, None)


def _whole(label: str, part: Any) -> Tensor:
    tensor = to_tensor(label, part)
    if has_mask(part):
        raise DataError(f"{label}: has masked cells; remove or fill such rows first")
    return tensor
