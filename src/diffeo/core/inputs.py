"""What users hold numbers in, as tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arrays import has_mask
from .errors import DataError

__all__ = ["as_tensor"]


def as_tensor(values: Any, name: str = "x") -> Tensor:
    """A tensor as it is; an array, a list or a data frame of numbers as a tensor in its own
    precision (a list's is float64).

    Raises `DataError` for what holds anything but real numbers, or masked ones.

    >>> as_tensor([[1, 2.5]]).dtype
    torch.float64
    """
    if isinstance(values, Tensor):
        if values.is_complex():
            raise DataError(
                f"{name} must be real numbers, got {values.dtype}: take its real part or"
                " view_as_real"
            )
        return values
    if has_mask(values):
        raise DataError(
            f"{name} is an array with masked entries: fill them or leave their rows out"
        )
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{name} is no array of numbers ({str(error).splitlines()[0]}): try torch.as_tensor"
        ) from None
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{name} must be numbers, got {type(values).__name__} of {array.dtype}: make it one"
            " with torch.as_tensor"
        )
    # A copy where PyTorch cannot share the memory: other byte orders, negative strides, what must
    # not be written to.
    return torch.from_numpy(
        np.require(array.astype(_shared(array.dtype), copy=False), requirements=["C", "W"])
    )


def _shared(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type of PyTorch's own that holds all values of a NumPy one."""
    if dtype.kind == "u" and dtype.itemsize > 1:
        return np.dtype(np.float64 if dtype.itemsize == 8 else np.int64)
    if dtype.kind == "f" and dtype.itemsize > 8:
        return np.dtype(np.float64)
    return dtype.newbyteorder("=")
