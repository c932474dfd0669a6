"""Folders decoded once: a memory-mapped array on disk, written whole or not at all, under a name
made of what it was decoded from.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ...core.errors import DataError
from ...core.files import atomic
from ...core.wording import argument
from .pictures import Header, decode, depth_of, notes_on, quiet, read_header
from .pixels import Pixels

__all__ = ["Recipe", "decoded"]

FORMAT = 2  # raised when the same files would be decoded to other pixels


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides the pixels of a folder besides its files."""

    colour: str | None
    size: tuple[int, int] | None
    shift: int
    depth: int | None = None
    """Bits that 16-bit files hold, where the caller says so."""


def decoded(
    folder: Path, names: Sequence[str], recipe: Recipe, *, cache: Path | None
) -> tuple[Pixels, tuple[str, ...]]:
    """A read-only memory map (N, C, H, W) of the files, in order, and notes on what was changed if
    it is made now.

    With a `cache` folder the array is kept there under a name made of paths, sizes, modification
    times and the recipe; processes that decode the same folder at once each write their
    file and the last rename wins. Without one it lives in a temporary file that is gone when the
    process ends. Raises `DataError`.
    """
    try:
        if cache is None:
            return _temporary(folder, names, recipe)
        cache.mkdir(parents=True, exist_ok=True)
        target = cache / f"images-{_key(folder, names, recipe)}.npy"
        pixels = _reopened(target, len(names))
        notes: tuple[str, ...] = ()
        if pixels is None:
            with atomic(target) as path, path.open("wb") as file:
                notes = _write(file, folder, names, recipe=recipe)
                file.flush()
            pixels = _mapped(target)
        return pixels, notes
    except OSError as e:
        where = tempfile.gettempdir() if cache is None else cache
        raise DataError(
            f"{e.filename or where}: {e.strerror or e}; mend it, or name another folder as cache"
        ) from e


def _key(folder: Path, names: Sequence[str], recipe: Recipe) -> str:
    import PIL

    stats = [(folder / n).stat() for n in names]
    files = [(n, s.st_size, s.st_mtime_ns) for n, s in zip(names, stats, strict=True)]
    parts = [
        FORMAT,
        PIL.__version__,
        str(folder.resolve()),
        recipe.colour,
        recipe.size,
        recipe.shift,
        recipe.depth,
        files,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _mapped(path: Path) -> Pixels:
    pixels: Pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    return pixels


def _reopened(path: Path, count: int) -> Pixels | None:
    """The array of an earlier run, or None if there is none or it is not what it should be."""
    with contextlib.suppress(FileNotFoundError, ValueError, EOFError):
        pixels = _mapped(path)
        if pixels.dtype == np.uint8 and pixels.ndim == 4 and len(pixels) == count:
            return pixels
    return None


def _temporary(
    folder: Path, names: Sequence[str], recipe: Recipe
) -> tuple[Pixels, tuple[str, ...]]:
    handle, name = tempfile.mkstemp(prefix="diffeo-", suffix=".npy")
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            notes = _write(file, folder, names, recipe=recipe)
        return _mapped(path), notes
    finally:
        _forget(path)


def _forget(path: Path) -> None:
    """Remove a file that may be mapped: at once where the map survives it (even a killed process
    leaves nothing then).
    """
    try:
        path.unlink(missing_ok=True)
    except OSError:  # Windows keeps mapped files
        atexit.register(lambda: path.unlink(missing_ok=True))


def _write(
    file: IO[bytes], folder: Path, names: Sequence[str], *, recipe: Recipe
) -> tuple[str, ...]:
    """Decode file after file and say what was changed.

    By plain writes, because a full disk under a writable map would kill the process.
    """
    with quiet():
        paths = [folder / n for n in names]
        headers = [read_header(p) for p in paths]
        if recipe.size is None:
            _refuse_mixed(paths, headers)
        colour = recipe.colour or ("grey" if all(h.grey for h in headers) else "rgb")
        depth = depth_of(paths, headers, recipe.depth)
        first: Any = None
        for path in paths:
            pixels = decode(path, colour, size=recipe.size, bits=depth) >> np.uint8(recipe.shift)
            if first is None:
                first = pixels
                shape = (len(names), *pixels.shape)
                np.lib.format.write_array_header_1_0(
                    file, {"descr": "|u1", "fortran_order": False, "shape": shape}
                )
            if pixels.shape != first.shape:
                raise _mixed(paths[0], first.shape[1:], other=path, other_size=pixels.shape[1:])
            file.write(pixels.tobytes())
        return notes_on(headers, depth)


def _refuse_mixed(paths: list[Path], headers: list[Header]) -> None:
    """Find two sizes before decoding; sides may still be swapped by an orientation that stands
    behind the pixels.
    """
    for path, header in zip(paths, headers, strict=True):
        if sorted(header.size) != sorted(headers[0].size):
            raise _mixed(paths[0], headers[0].size, other=path, other_size=header.size)


def _mixed(
    one: Path, size: tuple[int, ...], *, other: Path, other_size: tuple[int, ...]
) -> DataError:
    h, w = size
    h2, w2 = other_size
    return DataError(
        f"{one} is {h}x{w} and {other} is {h2}x{w2} (height x width), but a model has one size;"
        f" scale and crop all with {argument('resize', (min(h, h2), min(w, w2)))}"
    )
