"""How many processors this process may keep busy."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["processors"]

MEMBERSHIP = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")


def processors() -> int:
    """The processors of the affinity mask, or as many as the CPU quota of the process's cgroups
    pays for, if those are fewer.

    A quota of one and a half processors keeps two threads busy, though not all of the time.
    """
    mask = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([mask, *(math.ceil(quota) for quota in _quotas())]))


def _quotas() -> Iterator[float]:
    """In processors, of each cgroup that the process is in and of those around it."""
    for mount, path in _cgroups():
        own = mount / path.lstrip("/")
        for folder in (own, *own.parents):
            # within a container the path may be that of the host; its own is the mount
            if folder.is_relative_to(mount):
                numbers = _numbers(folder / "cpu.max")  # version 2: QUOTA PERIOD, or `max PERIOD`
                numbers = numbers or _numbers(folder / "cpu.cfs_quota_us") + _numbers(
                    folder / "cpu.cfs_period_us"
                )
                if len(numbers) == 2 and min(numbers) > 0:  # a quota of -1 is none
                    yield numbers[0] / numbers[1]


def _cgroups() -> Iterator[tuple[Path, str]]:
    """Where the system may have mounted those that know processors, and which of them this process
    is in.
    """
    try:
        lines = MEMBERSHIP.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            yield from ((CGROUPS, path), (CGROUPS / "unified", path))
        elif "cpu" in controllers.split(","):
            yield from ((CGROUPS / name, path) for name in {controllers, "cpu"})


def _numbers(file: Path) -> list[int]:
    """None where the file cannot be read or holds something else."""
    try:
        return [int(word) for word in file.read_text().split()]
    except (OSError, ValueError):
        return []
