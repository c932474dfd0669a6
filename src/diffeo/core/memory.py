"""Telling that memory ran out, whoever says so: Python, NumPy, PyTorch on CPUs and GPUs, the
system, a database.
"""

from __future__ import annotations

import errno

__all__ = ["out_of_memory"]

WORDS = ("allocate memory", "not enough memory", "out of memory", "bad_alloc", "bad allocation")


def out_of_memory(error: BaseException) -> bool:
    """Does the error say that memory ran out? PyTorch and DuckDB raise errors of other types, known
    by their words.

    >>> out_of_memory(RuntimeError(
    ...     "DefaultCPUAllocator: can't allocate memory: you tried to allocate 800000000000 bytes"))
    True
    """
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in WORDS)
