"""Tensors of what a caller holds (an array, a tensor, nested lists), with the numbers that it
held.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arrays import as_array, as_float64, has_mask, refuse_mask, refuse_rounding
from .errors import DataError

__all__ = ["as_tensor", "to_tensor"]


TENSORS: dict[Callable[[Tensor], bool], str] = {
    lambda t: (
        t.is_complex()
    ): "a tensor of complex numbers; give real and imaginary parts as columns",
    lambda t: t.is_quantized: "a quantized tensor; give its numbers with .dequantize()",
    lambda t: t.is_meta: "a tensor on the meta device, which holds no numbers; give one that does",
    lambda t: t.is_nested: "a nested tensor; give rows of one length",
    lambda t: t.layout is not torch.strided: "a sparse tensor; give its cells with .to_dense()",
}


def as_tensor(values: Any, name: str = "x") -> Tensor:
    """A tensor as it is, with its graph; an array, a list or a data frame of numbers in its own
    precision (a list's is float64), sharing memory where it can.

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
    refuse_mask(name, values)
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{name} is no array of numbers ({reason}): try torch.as_tensor") from None
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{name} must be numbers, got {type(values).__name__} of {array.dtype}: make it one"
            " with torch.as_tensor"
        )
    array = array.astype(_shared(array.dtype), copy=False)
    # A copy where PyTorch cannot share the memory: negative strides, what must not be written to.
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _shared(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type of PyTorch's own that holds all values of a NumPy one."""
    if dtype.kind == "u" and dtype.itemsize > 1:
        return np.dtype(np.float64 if dtype.itemsize == 8 else np.int64)
    if dtype.kind == "f" and dtype.itemsize > 8:
        return np.dtype(np.float64)
    return dtype.newbyteorder("=")


def to_tensor(label: str, values: Any) -> Tensor:
    """A tensor of floats or uint8 with the numbers of an array, a tensor or nested lists; NaN where
    a cell is masked.

    float32, float64 and uint8 stay as they are, half precision becomes float32, everything else
    float64. Arrays are copied, tensors only if they change. Raises `DataError` for what is no
    number, and for what float64 would round.

    >>> to_tensor("x", np.ma.masked_array([1, 2], mask=[False, True]))
    tensor([1., nan], dtype=torch.float64)
    """
    if isinstance(values, Tensor):
        return _from_tensor(label, values)
    array = as_array(label, values)
    kept = array.dtype.kind == "f" and array.dtype.itemsize in (4, 8)
    if array.dtype == np.uint8 and not has_mask(array):
        return torch.from_numpy(np.array(np.ma.getdata(array), order="C"))
    if kept or array.dtype == np.float16:
        data = np.array(
            np.ma.getdata(array),
            dtype=np.float64 if array.dtype.itemsize == 8 else np.float32,
            order="C",
        )
        if has_mask(array):
            data[np.ma.getmaskarray(array)] = np.nan
        return torch.from_numpy(data)
    refuse_rounding(label, array)
    return torch.from_numpy(np.ascontiguousarray(as_float64(label, array)).reshape(array.shape))


def _from_tensor(label: str, values: Tensor) -> Tensor:
    for wrong, words in TENSORS.items():
        if wrong(values):
            raise DataError(f"{label}: {words}")
    tensor = values.detach()
    if hasattr(tensor, "get_mask"):  # torch.masked.MaskedTensor: True where there is a value
        masked: Any = tensor
        data, valid = masked.get_data(), masked.get_mask()
        return to_tensor(label, torch.where(valid, data.double(), torch.nan))
    tensor = tensor.resolve_neg()
    if tensor.dtype in (torch.float32, torch.float64, torch.uint8):
        return tensor
    if tensor.is_floating_point():
        return tensor.float()
    if tensor.dtype in (torch.int64, torch.uint64):
        refuse_rounding(label, tensor.cpu().numpy())
    return tensor.double()
