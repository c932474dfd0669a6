"""Whatever a user calls data, as tensors of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import DataError
from ..data import Table, read_table

__all__ = ["Rows", "as_rows", "as_tensor"]


@dataclass(frozen=True)
class Rows:
    """x (N, \\*event), its contexts (N, \\*context) if any, and the columns' names if known."""

    x: Tensor
    context: Tensor | None
    names: list[str] | None

    @property
    def tensors(self) -> list[Tensor]:
        return [self.x] if self.context is None else [self.x, self.context]


def as_rows(x: Any, context: Any) -> Rows | None:
    """Tensors of rows from arrays, tables, data frames or paths; None when `x` is an iterable of batches."""
    if isinstance(x, (str, Path)) or hasattr(x, "__arrow_c_stream__"):
        x = read_table(x)
    own = None if context is None else as_tensor(context)
    if isinstance(x, Table):
        own = own if own is not None or x.context is None else torch.from_numpy(x.context)
        return Rows(torch.from_numpy(x.values), own, list(x.schema.names))
    if isinstance(x, (Tensor, np.ndarray)) or _is_nested_numbers(x):
        return Rows(as_tensor(x), own, None)
    if isinstance(x, Iterator) or not hasattr(x, "__iter__"):
        raise DataError("data must be an array, tensor, table, path, or an iterable of batches that can be started again")
    return None


def as_tensor(values: Any) -> Tensor:
    """A floating-point tensor; integers become float64 so that none is rounded."""
    if isinstance(values, Table):
        return torch.from_numpy(values.values)
    if isinstance(values, (str, Path)) or hasattr(values, "__arrow_c_stream__"):
        return torch.from_numpy(read_table(values).values)
    tensor = values.detach() if isinstance(values, Tensor) else torch.as_tensor(np.array(values, copy=True))
    if tensor.dim() == 0:
        raise DataError("data must have rows: an array of shape (N, ...)")
    return tensor if tensor.is_floating_point() or tensor.dtype == torch.uint8 else tensor.double()


def _is_nested_numbers(x: Any) -> bool:
    while isinstance(x, (list, tuple)) and len(x):
        x = x[0]
    return isinstance(x, (int, float))
