"""Locks between processes: one holder at a time, freed with it, and no obstacle where there are
none.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from diffeo.core.errors import CheckpointError
from diffeo.core.locks import acquire, locked_folder
from diffeo.runs import lock_folder

fcntl = pytest.importorskip("fcntl")


def test_a_lock_has_one_holder_until_its_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as first, path.open("w") as second:
        assert acquire(first.fileno())
        assert not acquire(second.fileno(), 0.05)
        first.close()
        assert acquire(second.fileno())


def test_who_waits_too_long_for_a_folder_is_told(tmp_path: Path) -> None:
    with (
        locked_folder(tmp_path, 0.0),
        pytest.raises(TimeoutError, match="another process"),
        locked_folder(tmp_path, 0.02),
    ):
        pass
    with locked_folder(tmp_path, 0.0):
        pass


def test_the_holder_of_a_run_is_named_and_keeps_it(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "run"):
        for _ in range(2):
            with (
                pytest.raises(CheckpointError, match=f"in use by process {os.getpid()}"),
                lock_folder(tmp_path / "run"),
            ):
                pass


def test_where_nothing_can_be_locked_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, flags: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock_folder(tmp_path), lock_folder(tmp_path), locked_folder(tmp_path, 0.0):
        pass
