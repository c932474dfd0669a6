"""Many rows in pieces, so that memory stays bounded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

__all__ = ["passes", "rows_per_pass"]

CHUNK = 8192  # rows of a table per pass
NUMBERS = 2**18  # values of images per pass: the networks hold hundreds of numbers for each


def rows_per_pass(event_shape: Sequence[int]) -> int:
    """How many rows to take through a flow at a time."""
    return CHUNK if len(event_shape) < 2 else max(1, NUMBERS // math.prod(event_shape))


def passes(x: Tensor, context: Tensor | None, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Rows x (N, ...) with their contexts (N, ...), if there are any, `size` at a time, in order.

    >>> import torch
    >>> [(len(rows), own) for rows, own in passes(torch.zeros(5, 2), None, 2)]
    [(2, None), (2, None), (1, None)]
    """
    parts = x.split(size)
    return zip(parts, [None] * len(parts) if context is None else context.split(size), strict=True)
