"""A number in parts of bounded size."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["batches"]


def batches(total: int, size: int) -> Iterator[int]:
    """Sizes of the pieces of at most `size` that make up `total`."""
    for start in range(0, total, size):
        yield min(size, total - start)
