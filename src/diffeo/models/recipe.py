"""Models remember how they were built, so that a folder of weights can be built again by name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, ParamSpec, get_type_hints

from ..card import Built, Card
from ..core.seeds import seeded
from ..core.settings import of_type, whole
from ..core.shapes import as_shape
from ..flow import Flow

__all__ = ["model"]

P = ParamSpec("P")
LEAST: dict[str, int | None] = {"seed": None, "heads": 0}  # all other whole numbers count from 1


def model(build: Callable[P, Flow]) -> Callable[P, Flow]:
    """Decorate a model function: seed its weights by its `seed`, and note name and arguments in
    `flow.card`.

    The weights are the same in threads as alone, and the global generators are left as they were.
    Arguments must be numbers, strings, booleans, None or sequences of these, which JSON can hold.
    Raises `ConfigError` for one that is not of the type it is annotated with, and for a seed that
    is not of 64 bits.
    """
    signature, hints = inspect.signature(build), get_type_hints(build)

    @functools.wraps(build)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Flow:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        settings = {
            name: _checked(name, value, hints[name]) for name, value in bound.arguments.items()
        }
        with seeded(settings["seed"]):
            flow = build(**settings)  # type: ignore[call-arg]
        flow.card = Card(built=Built(model=build.__name__, args=settings))
        return flow

    return wrapper


def _checked(name: str, value: Any, hint: Any) -> Any:
    if name in ("event_shape", "context_shape"):
        return None if value is None else list(as_shape(value))
    of_type(name, value, hint, least=LEAST.get(name, 1))
    if name == "seed":
        whole(name, value, least=-(2**63), most=2**64 - 1)  # what PyTorch takes
    return _plain(value)


def _plain(value: Any) -> Any:
    """As JSON has it: numbers and sequences of NumPy's become Python's."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(v) for v in value]
    if isinstance(value, (bool, str)) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)
