"""The files of a model folder, as one model: while others save there, after a crash, and whatever
they are.

A model is saved as `NAME.new` for each file, the manifest last, which makes it the model that is
read; then each is renamed over `NAME`. So at every moment one manifest has files of its hashes
beside it, under either name. Who reads takes what agrees with one manifest, and starts again where
somebody saved meanwhile.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import pydantic

from ..core.errors import StoreError
from ..core.files import fsync_folder, open_regular, sha256, write_atomic
from ..core.locks import locked_folder
from ..core.text import printable
from .config import FORMAT, MAX_JSON, parse_json

__all__ = [
    "CONFIG",
    "MANIFEST",
    "WEIGHTS",
    "Manifest",
    "at_rest",
    "commit",
    "manifests",
    "open_file",
    "options",
    "read_config_bytes",
]

WEIGHTS, CONFIG, MANIFEST = "model.safetensors", "config.json", "manifest.json"
NAMES = (WEIGHTS, CONFIG, MANIFEST)
MAX_MANIFEST = 1 << 16
PAUSE = 0.02  # seconds in which a folder must not change for a fault to be its own
ABSENCE = 0.5  # seconds for which there may be none, while another takes its place
PATIENCE = 10.0  # seconds that a reader goes on for, where others keep saving
T = TypeVar("T")


class Manifest(pydantic.BaseModel, extra="forbid", frozen=True, strict=True):
    """What `manifest.json` says: the sha256 of each file."""

    format: int
    files: dict[str, str]


def at_rest(folder: Path, read: Callable[[], T]) -> T:
    """What `read` gives. When it raises and the folder changed since, it is called again, for up to
    `PATIENCE` seconds.
    """
    end = time.monotonic() + PATIENCE
    while True:
        before = _stamp(folder)
        try:
            return read()
        except StoreError:
            if not _changes(folder, before):
                raise
        if time.monotonic() > end:
            raise StoreError(
                f"{folder}: changes faster than it can be read: wait until nothing saves there"
            ) from None


def manifests(folder: Path) -> Iterator[Manifest]:
    """The manifests of a folder, the newest first; raises `StoreError` when there is none that can
    be read.
    """
    if not folder.is_dir():
        raise StoreError(f"{folder}: no such model folder; check the path")
    paths = [path for path in options(folder, MANIFEST) if os.path.lexists(path)]
    if not paths:
        raise StoreError(
            f"{folder}: no {MANIFEST} in it, so it is not a model folder or its training has not"
            " finished"
        )
    for path in paths:
        try:
            yield _manifest(path)
        except StoreError:
            if path == paths[-1]:
                raise


def options(folder: Path, name: str) -> tuple[Path, Path]:
    """Where a file of a model may be."""
    return folder / f"{name}.new", folder / name


def open_file(path: Path) -> BinaryIO:
    """Open a file of a model; raises `StoreError` when there is none, it may not be read, or it is
    a link or no file.
    """
    try:
        return open_regular(path)
    except FileNotFoundError:
        raise StoreError(f"{path}: missing") from None
    except OSError as error:
        linked = path.is_symlink()
        reason = "it is a link: copy the file itself" if linked else error.strerror or error
        raise StoreError(f"{path}: cannot be read: {printable(reason)}") from None


def read_config_bytes(folder: Path, manifest: Manifest) -> bytes:
    """The `config.json` that a manifest lists; raises `StoreError` when it is missing or
    another.
    """
    for path in options(folder, CONFIG):
        if os.path.lexists(path):
            content = _read(path, MAX_JSON)
            if hashlib.sha256(content).hexdigest() == manifest.files[CONFIG]:
                return content
    raise StoreError(
        f"{folder}/{CONFIG}: missing or damaged (its sha256 is not the one in {MANIFEST})"
    )


def commit(folder: Path, write: Callable[[], None]) -> None:
    """Save a model: `write` writes the `.new` files but the manifest. One process or thread at a
    time does.
    """
    with locked_folder(folder, PATIENCE):
        _settle(folder)
        write()
        hashes = {name: sha256(folder / f"{name}.new") for name in (WEIGHTS, CONFIG)}
        # From here on the new model is what is read; before, it is the old one.
        manifest = Manifest(format=FORMAT, files=hashes)
        write_atomic(folder / f"{MANIFEST}.new", manifest.model_dump_json(indent=1).encode())
        for name in NAMES:
            os.replace(folder / f"{name}.new", folder / name)
        fsync_folder(folder)


def _settle(folder: Path) -> None:
    """Finish an earlier save that a crash cut short after its manifest was written, or clear what
    is left of one.
    """
    for left in folder.glob(".*.new.*.tmp"):
        left.unlink()
    complete = _complete(folder)
    for name in NAMES:
        left = folder / f"{name}.new"
        if os.path.lexists(left):
            left.replace(folder / name) if complete else left.unlink()


def _complete(folder: Path) -> bool:
    """Are all files there that a manifest not yet renamed lists?"""
    try:
        listed = _manifest(folder / f"{MANIFEST}.new").files
        return all(
            any(p.is_file() and sha256(p) == digest for p in options(folder, name))
            for name, digest in listed.items()
        )
    except StoreError:
        return False


def _manifest(path: Path) -> Manifest:
    try:
        found = Manifest.model_validate(parse_json(_read(path, MAX_MANIFEST), path))
    except pydantic.ValidationError as error:
        raise StoreError(
            f"{path}: damaged or not written by diffeo: {printable(error.errors()[0]['msg'])}"
        ) from None
    if found.format > FORMAT:
        raise StoreError(
            f"{path}: made by a newer diffeo (format {found.format}, this one reads {FORMAT}):"
            " upgrade"
        )
    if set(found.files) != {WEIGHTS, CONFIG}:
        raise StoreError(f"{path}: must list {WEIGHTS} and {CONFIG} and nothing else")
    return found


def _read(path: Path, most: int) -> bytes:
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise StoreError(f"{path}: larger than {most >> 10:,} KiB, refused")
        content = bytearray()
        while len(content) <= most and (more := file.read(most + 1 - len(content))):
            content += more
    return bytes(content)


def _changes(folder: Path, before: list[tuple[int, ...] | None]) -> bool:
    """Has it changed, or does it soon? Looked at often, for one that is replaced again and again is
    often not there.
    """
    end = time.monotonic() + (PAUSE if (folder / MANIFEST).exists() else ABSENCE)
    while True:
        # before the look, for a process may be kept waiting in between
        late = time.monotonic() > end
        if _stamp(folder) != before:
            return True
        if late:
            return False
        time.sleep(PAUSE / 4)


def _stamp(folder: Path) -> list[tuple[int, ...] | None]:
    """What changes when anything is saved in a folder, or another folder takes its place."""
    return [
        _of_file(path)
        for path in (folder, *(path for name in NAMES for path in options(folder, name)))
    ]


def _of_file(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
