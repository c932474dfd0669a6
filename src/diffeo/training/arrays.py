"""Whatever a user calls data, as tensors of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import DataError
from ..core.tensors import to_tensor
from ..data import Table, read_table

__all__ = ["Rows", "as_rows", "as_tensor"]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """x (N, *event), its contexts (N, *context) if any, and the columns' names if known."""

    x: Tensor
    context: Tensor | None
    names: list[str] | None

    @property
    def tensors(self) -> list[Tensor]:
        return [self.x] if self.context is None else [self.x, self.context]


def as_rows(x: Any, context: Any) -> Rows | None:
    """Tensors of rows from arrays, tables, data frames or paths; None when `x` is an iterable of
    batches.

    A masked cell is NaN. Raises `DataError` for what holds no numbers, and where float64 would
    round them.
    """
    if _is_table(x):
        x = read_table(x)
    contexts = None if context is None else as_tensor(context, "context")
    if isinstance(x, Table):
        if contexts is None and x.context is not None:
            contexts = torch.from_numpy(x.context)
        return Rows(x=torch.from_numpy(x.values), context=contexts, names=list(x.schema.names))
    if isinstance(x, (Tensor, np.ndarray)) or _is_nested_cells(x) or _is_array(x):
        return Rows(x=as_tensor(x), context=contexts, names=None)
    if isinstance(x, Iterator) or not hasattr(x, "__iter__"):
        raise DataError(
            "data must be an array, tensor, table, path, or an iterable of batches that can be"
            " started again"
        )
    return None


def as_tensor(values: Any, label: str = "data") -> Tensor:
    """A floating-point or uint8 tensor with rows; `core.tensors.to_tensor` says what becomes of
    each type.
    """
    if isinstance(values, Table):
        return torch.from_numpy(values.values)
    if _is_table(values):
        return torch.from_numpy(read_table(values).values)
    tensor = to_tensor(label, values)
    if tensor.dim() == 0:
        raise DataError(f"{label} must have rows: an array of shape (N, ...)")
    return tensor


def _is_table(x: Any) -> bool:
    return isinstance(x, (str, Path)) or hasattr(x, "__arrow_c_stream__")


def _is_array(x: Any) -> bool:
    """True for what makes an array of itself (xarray, JAX), and for sparse matrices,
    which are refused by name.
    """
    return hasattr(x, "__array__") or hasattr(x, "toarray")


def _is_nested_cells(x: Any) -> bool:
    while isinstance(x, (list, tuple)) and len(x):
        x = x[0]
    return x is None or isinstance(x, (int, float, complex, str, bytes, Decimal, np.generic))
