"""The compiled kernels: loaded on first use, or why they are not."""

from __future__ import annotations

import ctypes
import os
import warnings
from dataclasses import dataclass

import torch

from ..core.errors import ConfigError
from .build import BuildError, binary, capability
from .openmp import wait_asleep
from .operators import register
from .processors import processors

__all__ = ["Kernels", "kernels", "which"]


@dataclass(frozen=True)
class Kernels:
    """What is in use. `native`: the compiled kernels are loaded; if not, `reason` says why."""

    native: bool
    instructions: str | None = None
    reason: str | None = None


_in_use: Kernels | None = None


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def kernels() -> Kernels:
    """The kernels in use, compiled and loaded on the first call.

    The environment variable DIFFEO_KERNELS decides: `eager` never compiles, `native` insists (and
    raises `BuildError` where that fails), `auto`, the default, compiles where it can, and warns
    where it cannot. Raises `ConfigError` for another value.
    """
    global _in_use
    if _in_use is None:
        _in_use = _load(os.environ.get("DIFFEO_KERNELS") or "auto")
        wait_asleep()
    return _in_use


def _load(choice: str) -> Kernels:
    if choice not in ("auto", "native", "eager"):
        raise ConfigError(f"DIFFEO_KERNELS={choice}: use auto, native or eager")
    if choice == "eager":
        return Kernels(False, reason="DIFFEO_KERNELS=eager")
    try:
        path = str(binary())
        torch.ops.load_library(path)
    except (BuildError, OSError) as error:
        if choice == "native":
            raise BuildError(f"DIFFEO_KERNELS=native: {error}") from None
        warnings.warn(
            f"the reference kernels in PyTorch serve, which are slower: {error}",
            RuntimeWarning,
            stacklevel=2,
        )
        return Kernels(False, reason=str(error))
    ctypes.CDLL(path).diffeo_limit_threads(ctypes.c_int64(processors()))
    register()
    return Kernels(True, capability())


def which() -> str:
    """`native (AVX2)`, or `eager (…)` with the reason."""
    now = kernels()
    return f"native ({now.instructions})" if now.native else f"eager ({now.reason})"
