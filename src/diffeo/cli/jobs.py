"""What a run on a table and one on images share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ..core.errors import ConfigError, DiffeoError
from ..core.memory import out_of_memory

__all__ = ["built", "run_line"]


@contextlib.contextmanager
def built(model: str, args: dict[str, Any]) -> Iterator[None]:
    """Arguments that a model function cannot take are the user's, from `--set`: one line."""
    try:
        yield
    except (
        TypeError,
        ValueError,
        RuntimeError,
        AttributeError,
        ArithmeticError,
        LookupError,
    ) as error:
        if isinstance(error, DiffeoError) or out_of_memory(error):
            raise
        raise ConfigError(
            f"--set: {model} cannot be built from {args}: {str(error).splitlines()[0]}"
        ) from None


def run_line(s: dict[str, Any]) -> str:
    """Where the model is and what it cost."""
    return (
        f"model    {s['out']}   ({s['parameters']:,} parameters, {s['steps']:,} steps,"
        f" {s['seconds']:.0f} s, {s['stopped']})"
    )
