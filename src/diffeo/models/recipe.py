"""Models remember how they were built, so that a folder of weights can be built again by name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec

import torch

from ..core.seeds import seeded
from ..flow import Flow

__all__ = ["model"]

P = ParamSpec("P")


def model(build: Callable[P, Flow]) -> Callable[P, Flow]:
    """Decorate a model function: seed its weights by its `seed`, and note name and arguments in `flow.recipe`.

    The global random number generator is left as it was. Arguments must be numbers, strings, booleans, None or
    sequences of these, which JSON can hold.
    """
    signature = inspect.signature(build)

    @functools.wraps(build)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Flow:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        with seeded(bound.arguments["seed"]):
            flow = build(*args, **kwargs)
        flow.recipe = {"model": build.__name__, "args": {k: _plain(v) for k, v in bound.arguments.items()}}
        return flow

    return wrapper


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, (tuple, list, torch.Size)) else value
