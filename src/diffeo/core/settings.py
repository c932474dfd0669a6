"""Checks of settings: each returns the value as plain Python, or raises `ConfigError` with what is
allowed.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from .errors import ConfigError

__all__ = ["flag", "number", "of_type", "one_of", "whole", "wholes"]


def one_of(name: str, value: Any, choices: Iterable[str]) -> str:
    """A word out of `choices`, in lower case as they are.

    >>> one_of("mixing", "LU", ["none", "lu"])
    Traceback (most recent call last):
    diffeo.errors.ConfigError: unknown mixing 'LU': write 'lu'
    """
    known = list(choices)
    if isinstance(value, str) and value in known:
        return value
    meant = [word for word in known if isinstance(value, str) and word == value.strip().lower()]
    mend = f"write {meant[0]!r}" if meant else f"use one of {', '.join(known)}"
    raise ConfigError(f"unknown {name} {value!r}: {mend}")


def whole(name: str, value: Any, least: int | None = 1, *, most: int | None = None) -> int:
    """A whole number from `least` to `most`, where there are such; neither a float nor a boolean is
    one.

    >>> whole("layers", 4), whole("heads", 0, least=0)
    (4, 0)
    """
    if isinstance(value, Integral) and not isinstance(value, bool):
        count = int(value)
        if (least is None or count >= least) and (most is None or count <= most):
            return count
    spans = [
        f"at least {least}" if least is not None else "",
        f"at most {most}" if most is not None else "",
    ]
    span = " and ".join(filter(None, spans))
    raise ConfigError(f"{name} must be a whole number{span and ', ' + span}, got {value!r}")


def wholes(name: str, value: Any, least: int = 1, *, fewest: int = 1) -> tuple[int, ...]:
    """At least `fewest` whole numbers, each at least `least`.

    >>> wholes("hidden", [64, 64])
    (64, 64)
    """
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) >= fewest:
        return tuple(whole(f"each of {name}", item, least) for item in value)
    several = {0: "a sequence", 1: "a sequence of one or more"}.get(
        fewest, f"a sequence of {fewest} or more"
    )
    raise ConfigError(f"{name} must be {several} whole numbers, got {value!r}")


def number(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
) -> float:
    """A finite number, above < value < below and least ≤ value ≤ most; a boolean is none.

    >>> number("dropout", 0.5, least=0, below=1)
    0.5
    """
    size = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if math.isfinite(size) and above < size < below and least <= size <= most:
        return size
    bounds = [("above", above), ("at least", least), ("below", below), ("at most", most)]
    span = " and ".join(f"{word} {bound:g}" for word, bound in bounds if math.isfinite(bound))
    raise ConfigError(f"{name} must be a finite number{span and ', ' + span}, got {value!r}")


def flag(name: str, value: Any) -> bool:
    """True or False, not a number or a word that stands for one."""
    if isinstance(value, bool):
        return value
    raise ConfigError(f"{name} must be True or False, got {value!r}")


def of_type(name: str, value: Any, hint: Any, *, least: int | None = None) -> None:
    """Check a value against its annotation: a `Literal` of words, bool, int (`least` or more),
    float, `Sequence[str]`, or unions.

    What the annotation does not say, such as the range of a number, is left to where the setting is
    used.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        _any_of(name, value, parts, least=least)
    elif origin is Literal:
        one_of(name, value, parts)
    elif origin is Sequence and parts == (str,):
        if (
            not isinstance(value, Sequence)
            or isinstance(value, str)
            or not all(isinstance(item, str) for item in value)
        ):
            raise ConfigError(f"{name} must be a sequence of words, got {value!r}")
    elif hint is bool:
        flag(name, value)
    elif hint is int:
        whole(name, value, least)
    elif hint is float:
        number(name, value)
    elif hint is str and not isinstance(value, str):
        raise ConfigError(f"{name} must be a word, got {value!r}")


def _any_of(name: str, value: Any, hints: Sequence[Any], *, least: int | None) -> None:
    """One hint must fit; where none does, what the last one asks for is said."""
    if value is None and NoneType in hints:
        return
    *others, last = [hint for hint in hints if hint is not NoneType]
    for hint in others:
        with contextlib.suppress(ConfigError):
            of_type(name, value, hint, least=least)
            return
    of_type(name, value, last, least=least)
