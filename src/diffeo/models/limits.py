"""How much a stranger's file of weights may ask a model to build."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from ..core.errors import ConfigError
from ..core.text import printable

__all__ = ["Held", "Limits"]

MAX_TENSORS = 1 << 13  # in one model: building takes a quarter of a millisecond for each
MAX_SIDE = 1 << 16  # of an image
MAX_PIXELS = 1 << 27  # of an image: one of 3 × 6,600 × 6,600
MAX_AXES = 16
SMALL = 64  # what any file may ask for


class Held(NamedTuple):
    """What a file of weights holds."""

    tensors: int
    elements: int
    """Numbers in all tensors together."""
    longest: int
    """The longest side of a tensor that is not empty."""


@dataclass(frozen=True)
class Limits:
    """What the arguments of a model must be in proportion to.

    `repeats` are groups of settings that multiply to a number of layers in networks, each of which
    has `each` tensors or more: a file must hold as many. `keeps_list` says of an event (and the
    other settings) how many entries each layer keeps a list of, as many as it has weights or fewer;
    0 where weights know nothing of the size of an event.
    """

    repeats: tuple[tuple[str, ...], ...]
    each: int = 2
    keeps_list: Callable[[list[int], Mapping[str, Any]], int] = lambda event, args: 0

    def check(self, args: Mapping[str, Any], held: Held) -> None:
        """Raise `ConfigError` where arguments ask for more than a file accounts for. Integers only:
        nothing is built.
        """
        event = (
            args["event_shape"] if isinstance(args["event_shape"], list) else [args["event_shape"]]
        )
        self._check_event(event, args, held)
        for name, value in args.items():
            if name not in ("seed", "event_shape"):
                _check_sizes(name, value, max(held.elements, SMALL))
        for group in self.repeats:
            wanted = self.each * prod(_count(name, args.get(name)) for name in group)
            if wanted > min(held.tensors, MAX_TENSORS):
                said = ", ".join(
                    f"{name}={printable(args[name], 40)}"
                    for name in group
                    if args.get(name) is not None
                )
                raise ConfigError(
                    f"{said or 'its usual size'} is larger than the weights account for:"
                    f" {held.tensors} tensors"
                )

    def _check_event(self, event: list[int], args: Mapping[str, Any], held: Held) -> None:
        possible = (
            len(event) <= MAX_AXES
            and max(event, default=0) <= max(held.longest, MAX_SIDE)
            and prod(event) <= MAX_PIXELS
        )
        listed = self.keeps_list(event, args) if possible else 0
        layers = args.get("layers") or 1
        accounted = (
            listed <= max(held.longest, SMALL) and layers * listed <= 2 * held.elements + SMALL
        )
        if not possible or not accounted:
            raise ConfigError(
                f"event_shape={printable(event, 60)} is larger than the weights account for"
            )


def _check_sizes(name: str, value: Any, most: int) -> None:
    if isinstance(value, list):
        if len(value) > most:
            raise ConfigError(f"{name} has {len(value)} entries, more than the weights account for")
        for item in value:
            _check_sizes(name, item, most)
    elif isinstance(value, int) and abs(value) > most:
        raise ConfigError(f"{name}={printable(value, 40)} is larger than the weights account for")


def _count(name: str, value: Any) -> int:
    """How many layers a setting asks for: as many as it says, or as a network with these hidden
    layers has.
    """
    if value is None:
        return 1
    if isinstance(value, list):
        return len(value) + 1 if name == "hidden" else max(1, sum(value))
    return max(1, int(value))
