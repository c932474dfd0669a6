"""Which kernels serve: the compiled ones, or their twins in PyTorch."""

from __future__ import annotations

import ctypes
import os
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import ConfigError
from .build import BuildError, binary, capability
from .openmp import wait_asleep
from .operators import register
from .processors import processors

__all__ = ["Kernels", "kernels", "serves", "which"]


@dataclass(frozen=True)
class Kernels:
    """What is in use. `native`: the compiled kernels are loaded; if not, `reason` says why."""

    native: bool
    instructions: str | None = None
    reason: str | None = None


_found: Kernels | None = None


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def kernels() -> Kernels:
    """The kernels in use, compiled and loaded on the first call.

    The environment variable DIFFEO_KERNELS decides: `eager` never compiles, `native` insists (and
    raises `BuildError` where that fails), `auto`, the default, compiles where it can, and warns
    where it cannot. Raises `ConfigError` for another value.
    """
    global _found
    if _found is None:
        _found = _find(os.environ.get("DIFFEO_KERNELS") or "auto")
        wait_asleep()
    return _found


def _find(wish: str) -> Kernels:
    if wish not in ("auto", "native", "eager"):
        raise ConfigError(f"DIFFEO_KERNELS={wish}: use auto, native or eager")
    if wish == "eager":
        return Kernels(False, reason="DIFFEO_KERNELS=eager")
    try:
        path = str(binary())
        torch.ops.load_library(path)
    except (BuildError, OSError) as error:
        if wish == "native":
            raise BuildError(f"DIFFEO_KERNELS=native: {error}") from None
        warnings.warn(
            f"the kernels in PyTorch serve, which are slower: {error}", RuntimeWarning, stacklevel=2
        )
        return Kernels(False, reason=str(error))
    ctypes.CDLL(path).diffeo_limit_threads(ctypes.c_int64(processors()))
    register()
    return Kernels(True, capability())


def serves(x: Tensor) -> bool:
    """Do compiled kernels take this tensor? Those of `torch.func` and other devices go to the
    twins.
    """
    return (
        x.device.type == "cpu"
        and not torch._C._are_functorch_transforms_active()
        and kernels().native
    )


def which() -> str:
    """`native (AVX2)`, or `eager (…)` with the reason."""
    found = kernels()
    return f"native ({found.instructions})" if found.native else f"eager ({found.reason})"
