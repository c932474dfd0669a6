"""Where compiled kernels lie: a folder that this user alone can write, and files in it that are as
they were written.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import shutil
import stat
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from ..core.files import fsync_folder, open_regular, sha256
from ..core.locks import acquire

__all__ = ["folder", "locked", "publish", "whole"]

OTHERS = stat.S_IWGRP | stat.S_IWOTH  # may write
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # opening a pipe would wait for who writes to it


def folder() -> Path:
    """The cache of this user, made where it is missing; a temporary folder of this process where
    others could change it.

    Code is loaded from it, so whoever can write there runs what he likes as this user. Raises
    OSError where it cannot be made.
    """
    path = _chosen()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = path.resolve()
    if danger := _danger(path):
        return _private(
            f"{danger}: kernels are compiled for this process alone; set DIFFEO_CACHE to a folder"
            " of your own"
        )
    return path


def _chosen() -> Path:
    if own := os.environ.get("DIFFEO_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "diffeo"
    except RuntimeError:
        raise OSError("there is no home folder") from None


def _danger(path: Path) -> str | None:
    """Who else could change what is in the folder, or put another in its place.

    A folder above may belong to root, and be open to all if it is sticky as /tmp is. One that a
    group may write is accepted, as some systems give each user a group of his own: what a member
    puts in its place would be his and be seen here.
    """
    if not hasattr(os, "geteuid"):
        return None
    for place in (path, *path.parents):
        status = place.stat()
        open_to_all = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
        if not _trusted(status):
            return f"{place} belongs to another user"
        if status.st_mode & OTHERS if place == path else open_to_all:
            return f"{place} can be written by others (chmod go-w mends it)"
    return None


def _trusted(status: os.stat_result) -> bool:
    """Of this user, or of root, who can do anything anyway."""
    return not hasattr(os, "geteuid") or status.st_uid in (0, os.geteuid())


@functools.cache
def _private(reason: str) -> Path:
    warnings.warn(reason, RuntimeWarning, stacklevel=3)
    path = Path(tempfile.mkdtemp(prefix="diffeo-"))  # this user's alone
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def whole(path: Path) -> bool:
    """Is the file there, as `publish` wrote it? Cut short it would end the process as soon as it is
    loaded.
    """
    content, digest = _content(path), _content(_digest(path))
    return content is not None and digest == hashlib.sha256(content).hexdigest().encode()


def _digest(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _content(path: Path) -> bytes | None:
    """Of a plain file that others cannot write; None for anything else."""
    with contextlib.suppress(OSError), open_regular(path) as file:
        status = os.fstat(file.fileno())
        if _trusted(status) and not status.st_mode & OTHERS:
            return file.read()
    return None


def publish(made: Path, path: Path) -> None:
    """Move a file, from the same disk, to `path` with its digest beside it: durably, and not
    readable before it is whole.
    """
    digest = made.with_name(f"{made.name}.sha256")
    digest.write_text(sha256(made))
    for file, place in ((digest, _digest(path)), (made, path)):
        file.chmod(0o644)
        with file.open("rb+") as stream:
            os.fsync(stream.fileno())
        file.replace(place)
    fsync_folder(path.parent)


@contextlib.contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """One process at a time, as far as it can be had: after so many seconds, or where files cannot
    be locked, all go on.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK | NO_WAIT, 0o600)
    # a link, or a disk that is full; whether the folder can be written is seen soon
    except OSError:
        yield
        return
    with open(descriptor, "rb") as file:
        acquire(file.fileno(), seconds)
        yield
