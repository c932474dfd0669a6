"""How messages name an argument: as Python writes it, or as another front end does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

__all__ = ["Spelling", "argument", "spelled"]

Spelling: TypeAlias = Callable[[str, object], str]


def argument(name: str, value: object = None) -> str:
    """An argument of a public function, with a value to give it, as a message names it.

    >>> argument("max_bad", 0.03), argument("drop", ["a"]), argument("dialect")
    ('max_bad=0.03', "drop=['a']", 'dialect')
    """
    return _spelling.get()(name, value)


@contextmanager
def spelled(spelling: Spelling) -> Iterator[None]:
    """Inside, messages name arguments as `spelling(name, value)` does.

    >>> with spelled(lambda name, value: f"{name.upper()}: {value}"):
    ...     argument("seed", 3)
    'SEED: 3'
    """
    token = _spelling.set(spelling)
    try:
        yield
    finally:
        _spelling.reset(token)


def _in_python(name: str, value: object) -> str:
    return name if value is None else f"{name}={value!r}"


_spelling: ContextVar[Spelling] = ContextVar("spelling", default=_in_python)
