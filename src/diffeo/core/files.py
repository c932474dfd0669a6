"""Files: written so that a crash at any moment leaves the old content or the new, opened only if
that cannot hang.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import DataError

__all__ = [
    "atomic",
    "fsync_folder",
    "open_regular",
    "refuse_special",
    "sha256",
    "write_atomic",
]

SPECIAL = {
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success fsync it and rename it over `path`,
    else remove it.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        temporary.replace(path)
        fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes) -> None:
    """Replace the content of `path` in one step."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def fsync_folder(folder: Path) -> None:
    """Make renames in a folder durable (a no-op where folders cannot be opened)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; raises `OSError` for links, pipes, devices and folders,
    without waiting for any.
    """
    careful = (
        getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    descriptor = os.open(path, os.O_RDONLY | careful)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(None, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb", buffering=0)


def sha256(path: Path) -> str:
    """The hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_special(path: Path) -> None:
    """Raise `DataError` for a pipe, socket or device, which may hang when read and cannot be read
    twice.

    Regular files, folders and missing paths pass. `OSError` where the path cannot be looked up.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    kind = next((words for test, words in SPECIAL.items() if test(mode)), None)
    if kind is not None:
        raise DataError(
            f"{path}: is {kind}, not a file; save what it gives to a file and name that"
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
