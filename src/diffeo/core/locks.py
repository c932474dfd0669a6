"""Locks between processes, which the system releases when a process ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["acquire", "locked_folder"]

POLL = 0.01  # seconds between two attempts


def acquire(descriptor: int, patience: float = 0.0) -> bool:
    """Lock an open file or folder until its descriptor is closed.

    Returns False when another process or thread still has it after `patience` seconds, True
    otherwise: also where nothing can be locked, on Windows and on some network file systems, so
    that work goes on there without protection.
    """
    try:
        import fcntl
    except ImportError:
        return True
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(POLL)
        except OSError:  # a file system without locks
            return True
        else:
            return True


@contextlib.contextmanager
def locked_folder(folder: Path, patience: float) -> Iterator[None]:
    """Lock a folder; raises `TimeoutError` after `patience` seconds."""
    if os.name == "nt":  # folders cannot be opened there
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not acquire(descriptor, patience):
            raise TimeoutError(None, "another process is saving there", str(folder))
        yield
    finally:
        os.close(descriptor)
