"""A region that a function tells: for supports that are no product, such as x0 + x1 < 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...core.errors import ConfigError, InferenceError
from .batching import one_line, rows_of
from .space import Space, Value

__all__ = ["Inside", "Region"]

Inside = Callable[[Any], Tensor]
"""Values as the log density takes them, of B rows -> (B,) of truth values."""
WIDTHS = (1.0, 3.0, 10.0, 30.0, 100.0)  # times the scale
DRAWS = 8_192  # of each width
ENOUGH = 0.02  # of the draws of a width inside, to know where the region is


class Region:
    """Where `inside` is true; everywhere without one.

    Raises `ConfigError` when it is no function, and on use `InferenceError` when it raises or
    returns something else than one truth value for each row.
    """

    def __init__(self, inside: Inside | None) -> None:
        if inside is not None and not callable(inside):
            raise ConfigError(
                f"inside is a function of a batch of points, got {type(inside).__name__}"
            )
        self.inside = inside

    @torch.no_grad()
    def contains(self, value: Value) -> Tensor:
        """Which rows are inside: (B,) of truth values."""
        count = rows_of(value)
        if self.inside is None or not count:
            return torch.ones(count, dtype=torch.bool)
        try:
            inside = torch.as_tensor(self.inside(value))
        except Exception as error:
            raise InferenceError(f"inside raised {one_line(error)}") from error
        if inside.dtype != torch.bool or inside.shape != (count,):
            raise InferenceError(
                f"inside returned {inside.dtype} of shape {tuple(inside.shape)} for {count} points;"
                f" return a truth value for each, such as x.sum(1) < 1, shape ({count},)"
            )
        return inside

    def points(self, space: Space, scale: float, generator: torch.Generator) -> Tensor:
        """Unconstrained points (N, D) inside, of the narrowest normal around 0 that has enough of
        them there.

        Raises `InferenceError` when no draw of N(0, `scale`²) up to a hundred times as wide is
        inside.
        """
        best = torch.zeros(0, space.size)
        for width in WIDTHS:
            u = scale * width * torch.randn(DRAWS, space.size, generator=generator)
            u = u[self.contains(space.constrain(u)[0]).cpu()]
            best = u if len(u) > len(best) else best
            if len(best) >= ENOUGH * DRAWS:
                break
        if not len(best):
            raise InferenceError(
                f"inside is false at all {len(WIDTHS) * DRAWS:,} points tried around 0"
                " (unconstrained); shift and scale the parameters so that the region is within"
                " reach"
            )
        return best
