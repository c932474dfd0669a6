"""Pipes, sockets and devices are refused by name wherever data is read: nothing hangs and nothing
is read half.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffeo.core.errors import DataError
from diffeo.data import read_images, read_table
from diffeo.data.images.images import looks_like_images


@pytest.fixture(autouse=True)
def _limit() -> Iterator[None]:
    """A hang fails after half a minute."""

    def give_up(*_: object) -> None:
        raise TimeoutError("this hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "tsv", "txt", "parquet", "npy", "npz"])
def test_a_table_is_no_pipe(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a pipe, not a file; save"):
        read_table(pipe(tmp_path / f"t.{suffix}"))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.npy", "a.npz", "a-idx3", "a"])
@pytest.mark.parametrize("ask", [read_images, looks_like_images])
def test_images_are_no_pipe(name: str, ask: Callable[[Any], Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a pipe, not a file"):
        ask(pipe(tmp_path / name))


@pytest.mark.parametrize("name", ["l.npy", "l.csv", "l"])
def test_labels_are_no_pipe(name: str, tmp_path: Path) -> None:
    labels = pipe(tmp_path / name)
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "a.png")
    with pytest.raises(DataError, match="is a pipe, not a file"):
        read_images(folder, labels=labels)


def test_pipes_in_a_folder_of_images_are_left_alone(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    os.symlink(pipe(tmp_path / "b.png"), tmp_path / "c.png")
    assert read_images(tmp_path).names == ("a.png",)


def test_devices_and_sockets_are_named(tmp_path: Path) -> None:
    (tmp_path / "zero.npy").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="is a device"):
        read_table(tmp_path / "zero.npy")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s.csv"))
    with pytest.raises(DataError, match="is a socket"):
        read_table(tmp_path / "s.csv")
    server.close()


def test_the_command_says_so_in_one_line(tmp_path: Path) -> None:
    data = pipe(tmp_path / "t.csv")
    command = [sys.executable, "-m", "diffeo", "fit", str(data), "--out", str(tmp_path / "m")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "is a pipe" in done.stderr
