"""Evaluating a log density on a batch, also one that was written for single points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from ...core.errors import InferenceError
from .space import Value

__all__ = ["Mode", "UserDensity", "choose_mode", "evaluate", "rows_of", "take"]

UserDensity = Callable[[Any], Tensor]
"""Values as the user has them, a tensor or a dict of tensors, of B rows -> (B,)."""
Mode = Literal["batch", "vmap", "rows"]
"""How it is called: on batches as they are, through `torch.func.vmap`, or row by row, which is
slow.
"""


def evaluate(log_density: UserDensity, value: Value, mode: Mode) -> Any:
    """Whatever the log density returns for the rows of `value`."""
    if mode == "batch":
        return log_density(value)
    if mode == "vmap":
        return torch.func.vmap(log_density)(value)
    return torch.stack(
        [torch.as_tensor(log_density(take(value, i))) for i in range(rows_of(value))]
    )


def choose_mode(log_density: UserDensity, value: Value) -> Mode:
    """The first way that gives one number for each point.

    It is tried on points taken from `value`, as many as no axis of an event is long, so that a
    function of single points does not pass for one of batches. Raises `InferenceError` with the
    shapes, or with what was raised, when the function takes neither.
    """
    count = _unlike(value)
    probe = take(value, torch.arange(count) % rows_of(value))
    batch = _try(log_density, probe, "batch")
    if _shape(batch) == (count,):
        return "batch"
    single = _try(log_density, take(value, 0), "batch")
    if _shape(single) == ():
        return "vmap" if _shape(_try(log_density, probe, "vmap")) == (count,) else "rows"
    raise _wrong_shape(batch, single, probe)


def take(value: Value, index: int | slice | Tensor) -> Value:
    """Rows of a value."""
    return (
        {name: x[index] for name, x in value.items()} if isinstance(value, dict) else value[index]
    )


def rows_of(value: Value) -> int:
    """B."""
    return len(next(iter(value.values())) if isinstance(value, dict) else value)


def _try(log_density: UserDensity, value: Value, mode: Mode) -> Any:
    """The outcome: what it returned or what it raised."""
    try:
        return evaluate(log_density, value, mode)
    except Exception as error:
        return error


def _shape(outcome: Any) -> tuple[int, ...] | None:
    if isinstance(outcome, (int, float)):
        return ()
    return tuple(outcome.shape) if hasattr(outcome, "shape") else None


def _wrong_shape(batch: Any, single: Any, probe: Value) -> InferenceError:
    count = rows_of(probe)
    if isinstance(batch, Exception):
        error = InferenceError(f"the log density raised {one_line(batch)}")
        error.__cause__ = batch
        return error
    if _shape(batch) is None:
        return InferenceError(
            f"the log density returned {type(batch).__name__}; return a tensor with one value per"
            " point"
        )
    shapes = (
        {name: tuple(x.shape) for name, x in probe.items()}
        if isinstance(probe, dict)
        else tuple(probe.shape)
    )
    alone = "" if _shape(single) is None else f", and {_shape(single)} for a single one"
    return InferenceError(
        f"the log density returned shape {_shape(batch)} for {count} points, a batch of shape"
        f" {shapes}{alone}; return one value per point, shape ({count},): sum over the event, for"
        " example with .sum(-1)"
    )


def one_line(error: Exception) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _unlike(value: Value) -> int:
    """The smallest number above 2 that is no length of an axis."""
    tensors = value.values() if isinstance(value, dict) else [value]
    lengths = {n for x in tensors for n in x.shape[1:]}
    return next(n for n in range(3, 3 + len(lengths) + 1) if n not in lengths)
