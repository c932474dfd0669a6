"""Is there room for what is asked for?"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..core.errors import ConfigError

__all__ = ["check_room"]


def check_room(out: Path, n: int, width: int, *, size: int = 8) -> None:
    """Raise `ConfigError` when n rows of `width` numbers of `size` bytes fit neither memory nor,
    however written, the disk.
    """
    pieces = not out.name.lower().endswith((".npy", ".npz", ".png"))
    memory = (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if hasattr(os, "sysconf")
        else 2**63
    )
    place = out.parent if out.parent.is_dir() else Path()
    room, what = (
        (shutil.disk_usage(place).free, "the disk has") if pieces else (memory, "this machine has")
    )
    least = n * width * (1 if pieces else size)
    if least > room:
        raise ConfigError(
            f"--number {n}: needs at least {least / 2**30:,.0f} GiB, and {what}"
            f" {room / 2**30:,.0f}: take fewer"
        )
