"""Implementations of operators, looked up by operator and kind of device; without one the
reference serves.

A folder of this room is one operator: `reference.py` has its formulas in PyTorch, `op.py` what maps
and layers call, and each implementation is a file beside them (`cpu.cpp`, `triton.py`) that `op.py`
registers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["find", "implemented", "register"]

Load = Callable[[], Any]

_loads: dict[tuple[str, str], Load] = {}


def register(operator: str, device: str, load: Load) -> None:
    """Have `load` bring the implementation for devices of that type ("cpu", "cuda"), or None where
    it cannot be had here. It is called once, when a tensor of such a device first meets the
    operator.
    """
    _loads[operator, device] = load
    _loaded.pop((operator, device), None)


def implemented() -> list[tuple[str, str]]:
    """The operators and devices that have been registered."""
    return sorted(_loads)


def find(operator: str, x: Tensor) -> Any | None:
    """The implementation for x; None where the reference serves, as it does inside `torch.func`."""
    device = x.device.type
    if torch._C._are_functorch_transforms_active() or not _is_there(operator, device):
        return None
    return _loaded[operator, device]


_loaded: dict[tuple[str, str], Any] = {}


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _is_there(operator: str, device: str) -> bool:
    """Is there an implementation? Loaded at the first question, of which a compiled graph knows the
    answer alone.
    """
    key = operator, device
    if key not in _loaded:
        load = _loads.get(key)
        _loaded[key] = None if load is None else load()
    return _loaded[key] is not None
