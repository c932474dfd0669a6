"""A flow from a configuration and the header of its weights: refused where they ask for much,
before anything is built.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..core.errors import StoreError
from ..core.memory import out_of_memory
from ..core.text import printable
from ..flow import Flow
from ..models import SPECS, Held
from .config import Config, arguments
from .folder import CONFIG, WEIGHTS
from .tensors import Header

__all__ = ["fit_to", "rebuild"]

SPARE = 64  # tensors that building makes and does not keep
FILLS = (torch.Tensor.uniform_, torch.Tensor.normal_)
# numbers that a model of small weights may keep beside them: the sites of a lattice of 1024², 16
# layers
MAX_INDEX = 1 << 24


def rebuild(config: Config, header: Header, folder: Path) -> Flow:
    """The flow that a configuration describes, its weights still to be filled in. Raises
    `StoreError`.
    """
    if config.model is None:
        raise StoreError(
            f"{folder}: holds a flow built by hand: build the same flow and call load(folder,"
            " into=flow)"
        )
    if config.model not in SPECS:
        raise StoreError(
            f"{folder}: unknown model {printable(config.model, 40)!r}: this diffeo knows"
            f" {', '.join(SPECS)}"
        )
    spec = SPECS[config.model]
    sides = [side for t in header.tensors.values() if 0 not in t.shape for side in t.shape]
    try:
        args = arguments(spec, config.args)
        spec.limits.check(args, Held(len(header.tensors), header.elements, max(sides, default=0)))
        # shapes first, memory only when they agree with the weights
        with torch.device("meta"), _Plan(len(header.tensors)):
            plan = fit_to(_in_precision(spec.build(**args), header), header, folder)
        _check_index(plan, header)
        return _in_precision(spec.build(**args), header)
    except StoreError:
        raise
    except Exception as error:  # whatever a stranger's arguments make of a model function
        if out_of_memory(error):
            raise StoreError(f"{folder}: the model does not fit in memory") from None
        reason = printable(str(error) or type(error).__name__)
        raise StoreError(
            f"{folder}/{CONFIG}: arguments do not build a {config.model}: {reason}"
        ) from None


class _Plan(TorchFunctionMode):
    """Inside, random numbers are not drawn, and a model is given up once it makes more tensors than
    its file holds.
    """

    def __init__(self, tensors: int) -> None:
        super().__init__()
        self.left = tensors + SPARE

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in FILLS or getattr(func, "__module__", None) == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        # made without memory, it is not kept
        if func is torch.empty and (kwargs or {}).get("device") is None:
            self.left -= 1
            if self.left < 0:
                raise ValueError("it has more layers than the weights account for")
        return func(*args, **(kwargs or {}))


def fit_to(flow: Flow, header: Header, folder: Path) -> Flow:
    """The flow; raises `StoreError` where a tensor has another shape or dtype than it."""
    declared = {name: (t.dtype, t.shape) for name, t in header.tensors.items()}
    expected = {name: (t.dtype, tuple(t.shape)) for name, t in flow.state_dict().items()}
    odd = next(
        (n for n in sorted({*expected, *declared}) if expected.get(n) != declared.get(n)), None
    )
    if odd is not None:
        said, wanted = _words(declared.get(odd)), _words(expected.get(odd))
        raise StoreError(
            f"{folder}/{WEIGHTS}: tensor {printable(odd, 100)!r} is {said}, the model expects"
            f" {wanted}"
        )
    return flow


def _in_precision(flow: Flow, header: Header) -> Flow:
    """In float64, if a model was moved there before it was saved."""
    return flow.double() if any(t.dtype == torch.float64 for t in header.tensors.values()) else flow


def _check_index(plan: Flow, header: Header) -> None:
    """What a model keeps beside its weights (where each site of a lattice comes from) must be in
    proportion.
    """
    kept = sum(buffer.numel() for buffer in plan.buffers())
    if kept > max(MAX_INDEX, 8 * header.elements):
        raise ValueError(
            f"it would keep {kept:,} numbers beside its weights, which is larger than the weights"
            " account for"
        )


def _words(tensor: tuple[torch.dtype, tuple[int, ...]] | None) -> str:
    if tensor is None:
        return "not there"
    dtype, shape = tensor
    return f"{str(dtype).removeprefix('torch.')} {shape}"
