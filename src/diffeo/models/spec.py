"""What a model is called, what builds it for which kind of data, and what suits it there."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.shapes import as_shape
from ..flow import Flow
from .limits import Limits

__all__ = ["ModelSpec", "domain_of", "takes_classes"]


def domain_of(event_shape: int | Sequence[int]) -> str:
    """The kind of data that events of this shape are, where nothing else says so: "image" of three
    axes, else "table".
    """
    return "image" if len(as_shape(event_shape)) == 3 else "table"


def takes_classes(context_shape: Sequence[int] | None) -> bool:
    """Whether contexts of this shape are single numbers, as those of classes are."""
    return context_shape == ()


@dataclass(frozen=True)
class ModelSpec:
    """A model of the registry: a name, and for each domain that it serves what builds it.

    `builders` are by domain ("table", "image", "field"); `build` is the public function, which
    picks one of them by the shape of the event. `recommended` are settings by use: a domain, or
    "posterior" for flows that are fitted to a log density, which a model serves that has an entry
    there. `default_for` are the uses it is the first choice for.
    """

    name: str
    build: Callable[..., Flow]
    builders: Mapping[str, Callable[..., Flow]]
    limits: Limits
    recommended: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    default_for: tuple[str, ...] = ()

    @property
    def uses(self) -> frozenset[str]:
        """The domains it serves, and "posterior" if it does."""
        return frozenset({*self.builders, *self.recommended})

    def domain(self, event_shape: int | Sequence[int]) -> str:
        """The domain of its flows over events of this shape."""
        if len(self.builders) == 1:
            return next(iter(self.builders))
        return domain_of(event_shape)

    def builder(self, event_shape: int | Sequence[int]) -> Callable[..., Flow]:
        """The function that builds it for events of this shape."""
        return self.builders[self.domain(event_shape)]

    def settings(self, domain: str) -> list[str]:
        """The names of the arguments that it takes in a domain."""
        return list(inspect.signature(self.builders[domain]).parameters)
