"""Checkpoints: a folder each, complete or absent, the last two kept, no pickle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..core.errors import CheckpointError
from ..core.files import fsync_folder, sha256

__all__ = ["read_newest", "write"]

KEEP = 2


def write(folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write checkpoint `step-N` under `folder`: into a temporary folder, fsync, rename, fsync; then drop old ones.

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
        raise CheckpointError(f"{folder}: cannot write a checkpoint ({reason}); the one before is kept") from None
    for old in _all(folder)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)


def read_newest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any], list[str]] | None:
    """The newest undamaged checkpoint: tensors, state, and words on damaged newer ones; None when there is none."""
    notes: list[str] = []
    for path in reversed(_all(folder)):
        try:
            manifest = json.loads((path / "manifest.json").read_text())
            for name, digest in manifest.items():
                if sha256(path / name) != digest:
                    raise ValueError(f"{name} does not match its sha256")
            return load_file(path / "state.safetensors"), json.loads((path / "state.json").read_text()), notes
        except (OSError, ValueError, SafetensorError) as error:
            notes.append(f"{path.name} is damaged ({error}); the one before it is used")
    if notes:
        raise CheckpointError(f"{folder}: no undamaged checkpoint: {'; '.join(notes)}")
    return None


def _fill(folder: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, folder / "state.safetensors")
    (folder / "state.json").write_text(json.dumps(state))
    manifest = {name: sha256(folder / name) for name in ("state.safetensors", "state.json")}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for path in _files(folder):
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    fsync_folder(folder)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file())


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*")) if folder.is_dir() else []
