"""One run per folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import CheckpointError
from ..core.locks import acquire

__all__ = ["lock_folder"]


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock a run's folder, made where it is missing, until the block or the process ends.

    Raises `CheckpointError` when another process has it or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a+")
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot write here: {error.strerror or error}") from None
    with file:
        if not acquire(file.fileno()):
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise CheckpointError(
                f"{folder}: in use by {holder}: wait for it, or choose another folder"
            )
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        yield
