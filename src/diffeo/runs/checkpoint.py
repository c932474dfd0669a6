"""Checkpoints: a folder each, complete or absent, the last two kept, no pickle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..core.errors import CheckpointError
from ..core.files import fsync_folder, sha256
from ..core.wording import argument

__all__ = ["read_checkpoint", "write_checkpoint"]

KEEP = 2
TENSORS = "state.safetensors"
STATE = "state.json"
MANIFEST = "manifest.json"

S = TypeVar("S")


def write_checkpoint(
    folder: Path, *, step: int, tensors: dict[str, Tensor], state: dict[str, Any]
) -> None:
    """Write checkpoint `step-N` under `folder`: into a temporary folder, fsync, rename, fsync; then
    drop old ones.

    Raises `CheckpointError` when it cannot; earlier checkpoints are then untouched.
    """
    temporary = folder / f".tmp-{step}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _fill(temporary, tensors, state)
        final = folder / f"step-{step:09d}"
        if final.exists():  # damaged, or it would have been resumed from
            shutil.rmtree(final)
        temporary.rename(final)
        fsync_folder(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise CheckpointError(
            f"{folder}: cannot write a checkpoint ({reason}); the one before is kept"
        ) from None
    for old in _all(folder)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)


def read_checkpoint(
    folder: Path, parse: Callable[[bytes], S]
) -> tuple[dict[str, Tensor], S, list[str]] | None:
    """The newest undamaged checkpoint: tensors, state, and words on damaged newer ones; None when
    there is none.

    `parse` makes the state of its JSON and raises ValueError where that is not one. Raises
    `CheckpointError` when there are checkpoints and all are damaged.
    """
    notes: list[str] = []
    for path in reversed(_all(folder)):
        try:
            _verify(path)
            return load_file(path / TENSORS), parse((path / STATE).read_bytes()), notes
        except (OSError, ValueError, RecursionError, SafetensorError) as error:
            notes.append(f"{path.name} is damaged ({str(error).splitlines()[0]})")
    if notes:
        raise CheckpointError(
            f"{folder}: no undamaged checkpoint: {'; '.join(notes)}; start again"
            f" without {argument('resume', True)}"
        )
    return None


def _verify(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    if not isinstance(manifest, dict) or set(manifest) != {TENSORS, STATE}:
        raise ValueError(f"{MANIFEST} does not list {TENSORS} and {STATE}")
    for name, digest in manifest.items():
        if sha256(folder / name) != digest:
            raise ValueError(f"{name} does not match its sha256")


def _fill(folder: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    save_file(
        {name: t.detach().cpu().contiguous() for name, t in tensors.items()}, folder / TENSORS
    )
    (folder / STATE).write_text(json.dumps(state))
    manifest = {name: sha256(folder / name) for name in (TENSORS, STATE)}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    for path in _files(folder):
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    fsync_folder(folder)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file())


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*")) if folder.is_dir() else []
