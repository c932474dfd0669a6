"""From free real coordinates to values in their supports and back: what posteriors use of the
kinds.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..core.errors import ShapeError
from ..core.numerics import sum_event
from ..core.shapes import Shape
from ..core.transform import Transform
from .base import Event, Numbers, Scalar

__all__ = ["Bijection", "Elementwise", "Joint", "as_rows"]


class Bijection(Transform, ABC):
    """x (B, *shape) in a support <-> free coordinates u (B, *latent), one-to-one; `inverse`
    constrains.

    Outside the support `forward` gives the log-det −inf.
    """

    any_dtype = True

    def __init__(self, shape: Shape, latent: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.latent = latent

    @property
    @abstractmethod
    def written(self) -> str | list[str]:
        """The support in its written form: one, or one for each entry in row-major order."""

    @abstractmethod
    def value(self, u: Tensor) -> Tensor:
        """u (B, *latent) -> x (B, *shape)."""

    @abstractmethod
    def log_det(self, u: Tensor) -> Tensor:
        """log|det dx/du| at u: (B,)."""

    @abstractmethod
    def coordinates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """u of x (B, *shape), and what of x is inside: (B, *shape), or (B, *leading axes) where
        entries depend.
        """

    @abstractmethod
    def kept(self) -> Tensor:
        """Which entries are worth a column of a table, a mask (*shape): all but constants and
        repetitions.
        """

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        u, inside = self.coordinates(x if x.is_floating_point() else x.double())
        return u, torch.where(as_rows(inside).all(1), -self.log_det(u), -math.inf)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.value(y), self.log_det(y)

    def forward_shape(self, shape: Shape) -> Shape:
        return _exactly(shape, self.shape, self.latent)

    def inverse_shape(self, shape: Shape) -> Shape:
        return _exactly(shape, self.latent, self.shape)


class Joint(Bijection):
    """Events whose entries depend on each other: x (B, *shape) of one kind.

    >>> from diffeo.supports import Simplex
    >>> Joint((3,), Simplex()).inverse(torch.zeros(1, 2))[0]
    tensor([[0.3333, 0.3333, 0.3333]])
    """

    def __init__(self, shape: Shape, event: Event) -> None:
        super().__init__(shape, event.latent(shape))
        self.event = event

    @property
    def written(self) -> str:
        return str(self.event)

    def value(self, u: Tensor) -> Tensor:
        return self.event.value(u, self.shape)

    def log_det(self, u: Tensor) -> Tensor:
        return self.event.log_det(u, self.shape)

    def coordinates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.event.coordinates(x)

    def kept(self) -> Tensor:
        return self.event.kept(self.shape)


class Elementwise(Bijection):
    """Each entry in its support: one for all, or one for each in row-major order.

    >>> from diffeo.supports import Interval, Positive
    >>> Elementwise((2,), [Interval(0.0, 1.0), Positive()]).inverse(torch.zeros(1, 2))
    (tensor([[0.5000, 1.0000]]), tensor([-1.3863]))
    """

    def __init__(self, shape: Shape, entries: Sequence[Scalar]) -> None:
        super().__init__(shape, shape)
        same = all(entry == entries[0] for entry in entries)
        self.entries = tuple(entries[:1] if same else entries)
        kinds = list(dict.fromkeys(type(entry) for entry in self.entries))
        # Numbers are plain tensors, not buffers: they are configuration and keep float64 whatever
        # dtype a model is moved to.
        self._groups = [(kind, self._numbers(kind, len(kinds) > 1)) for kind in kinds]
        places = {
            kind: [i for i, entry in enumerate(self.entries) if type(entry) is kind]
            for kind in kinds
        }
        self._sizes = [len(group) for group in places.values()]
        self._order = torch.tensor([i for group in places.values() for i in group])

    def _numbers(self, kind: type[Scalar], mixed: bool) -> Numbers:
        """Those of all entries of a kind: of the event's shape, or flat where it is one of
        several.
        """
        each = [entry.numbers for entry in self.entries if type(entry) is kind]
        columns = [
            torch.tensor(numbers, dtype=torch.float64) for numbers in zip(*each, strict=True)
        ]
        if mixed:
            return tuple(columns)
        shape = self.shape if len(self.entries) > 1 else ()
        return tuple(column.reshape(shape) for column in columns)

    @property
    def written(self) -> str | list[str]:
        words = [str(entry) for entry in self.entries]
        return words if len(words) > 1 else words[0]

    def value(self, u: Tensor) -> Tensor:
        return self._each(u, lambda kind, part, numbers: (kind.value(part, numbers),))[0]

    def log_det(self, u: Tensor) -> Tensor:
        slope = self._each(u, lambda kind, part, numbers: (kind.log_slope(part, numbers),))[0]
        return sum_event(slope)

    def coordinates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u, inside = self._each(x, lambda kind, part, numbers: kind.coordinate(part, numbers))
        return u, inside

    def kept(self) -> Tensor:
        return torch.ones(self.shape, dtype=torch.bool)

    def _each(
        self,
        x: Tensor,
        formula: Callable[[type[Scalar], Tensor, Numbers], tuple[Tensor, ...]],
    ) -> list[Tensor]:
        """What a formula makes of the entries of each kind, in their places: (B, *shape) each."""
        if len(self._groups) == 1:
            kind, numbers = self._groups[0]
            return list(formula(kind, x, numbers))
        order = self._order.to(x.device)
        parts = as_rows(x).index_select(1, order).split(self._sizes, 1)
        done = [
            formula(kind, part, numbers)
            for (kind, numbers), part in zip(self._groups, parts, strict=True)
        ]
        back = order.argsort()
        return [
            torch.cat(each, 1).index_select(1, back).reshape(x.shape)
            for each in zip(*done, strict=True)
        ]


def _exactly(shape: Shape, wanted: Shape, result: Shape) -> Shape:
    if shape != wanted:
        raise ShapeError(f"takes events of shape {wanted}, got {shape}")
    return result


def as_rows(x: Tensor) -> Tensor:
    """(B, *shape) -> (B, N), also for scalars and for no rows."""
    return x.flatten(1) if x.dim() > 1 else x[:, None]
