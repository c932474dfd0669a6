"""What must hold of buffers, which a file from a stranger may fill with anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["ChecksBuffers", "is_permutation", "is_permutation_matrix"]


@runtime_checkable
class ChecksBuffers(Protocol):
    """A module with buffers that have to be more than finite numbers of the right shape."""

    def buffer_fault(self, buffers: Mapping[str, Tensor]) -> str | None:
        """What is wrong with buffers of these names that are to be loaded, or None."""


def is_permutation(order: Tensor) -> bool:
    """Does an integer tensor (D,) hold each of 0..D−1 once?

    >>> is_permutation(torch.tensor([2, 0, 1])), is_permutation(torch.tensor([2, 2, 1]))
    (True, False)
    """
    return torch.equal(order.sort().values, torch.arange(len(order), device=order.device))


def is_permutation_matrix(matrix: Tensor) -> bool:
    """Has a matrix (D, D) a single 1 in each row and column, and 0 elsewhere?

    >>> is_permutation_matrix(torch.eye(2)), is_permutation_matrix(torch.ones(2, 2))
    (True, False)
    """
    one = matrix == 1
    once = (one.sum(0) == 1).all() & (one.sum(1) == 1).all()
    return bool(once & (one | (matrix == 0)).all())
