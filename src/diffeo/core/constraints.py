"""Supports that PyTorch has no constraint for. `biject_to`, its way to the reals, knows those that
are not discrete.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import biject_to, constraints, transform_to
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import StackTransform

__all__ = ["Each", "Inside", "between", "integer"]


class _Integer(Constraint):
    """The whole numbers."""

    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        whole: Tensor = (value % 1 == 0) & (value.abs() < torch.inf)
        return whole


integer = _Integer()


class _Between(constraints.interval):
    def check(self, value: Tensor) -> Tensor:
        inside: Tensor = (value > self.lower_bound) & (value < self.upper_bound)
        return inside


def between(low: float, high: float) -> Constraint:
    """low < x < high: an interval without its ends, where densities are zero."""
    return _Between(low, high)  # type: ignore[no-untyped-call]


class Each(Constraint):
    """Vectors (*S, D) with a constraint for each entry."""

    event_dim = 1

    def __init__(self, entries: Sequence[Constraint]) -> None:
        self.entries = list(entries)
        self.is_discrete = any(entry.is_discrete for entry in self.entries)
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        fits = [entry.check(value[..., i]) for i, entry in enumerate(self.entries)]
        return torch.stack(fits, -1).all(-1)

    def __repr__(self) -> str:
        return f"Each({self.entries})"


class Inside(Constraint):
    """Where a log-density (*S) of events is above −inf."""

    def __init__(self, log_prob: Callable[[Tensor], Tensor], event_dim: int) -> None:
        self.log_prob, self._event_dim = log_prob, event_dim
        super().__init__()

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return self._event_dim

    @torch.no_grad()
    def check(self, value: Tensor) -> Tensor:
        return self.log_prob(value) > -torch.inf


for registry in (biject_to, transform_to):
    registry.register(
        _Between, lambda c: biject_to(constraints.interval(c.lower_bound, c.upper_bound))
    )
    registry.register(Each, lambda c: StackTransform([biject_to(entry) for entry in c.entries], -1))
