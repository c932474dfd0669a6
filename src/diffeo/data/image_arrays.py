"""Images in NumPy files: `.npy` mapped into memory, `.npz` with `images` and, if there are any, `labels`."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError
from .arrays import one_line

__all__ = ["Stored", "headers", "read_array_file"]


class Stored(NamedTuple):
    """What a file of arrays holds; `bits` and `classes` only where it says so itself."""

    images: NDArray[Any]
    labels: NDArray[Any] | None = None
    bits: int | None = None
    classes: tuple[str, ...] | None = None


def headers(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a `.npy` (under the name "") or `.npz` file, from the headers alone."""
    with _worded(path):
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                return {"": _shape(file)}
        shapes = {}
        with zipfile.ZipFile(path) as archive:
            for name in (n for n in archive.namelist() if n.endswith(".npy")):
                with archive.open(name) as member:
                    shapes[name.removesuffix(".npy")] = _shape(member)
        return shapes


def _shape(file: IO[bytes]) -> tuple[int, ...]:
    version = np.lib.format.read_magic(file)
    read: Any = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape: tuple[int, ...] = read(file)[0]
    return shape


def read_array_file(path: Path) -> Stored:
    """The array of a `.npy`, or `images`, `labels`, `bits` and `classes` of a `.npz` file, nothing checked yet.

    A `.npz` without `images` may have any name for its only array of three or four axes. Raises `DataError` if there
    is none or a choice, and if the file is damaged or holds Python objects.
    """
    shapes = headers(path)
    if "" in shapes:
        with _worded(path):
            return Stored(np.load(path, mmap_mode="r" if 0 not in shapes[""] else None, allow_pickle=False))
    key = _key(path, shapes)
    with _worded(path), np.load(path, allow_pickle=False) as file:
        part = {k: file[k] for k in (key, "labels", "bits", "classes") if k in file.files}
    classes = tuple(map(str, part["classes"].ravel())) if "classes" in part else None
    return Stored(part[key], part.get("labels"), _bits(path, part.get("bits")), classes)


def _key(path: Path, shapes: dict[str, tuple[int, ...]]) -> str:
    deep = ["images"] if "images" in shapes else [k for k, shape in shapes.items() if len(shape) in (3, 4)]
    if len(deep) == 1:
        return deep[0]
    held = ", ".join(f"{k} {shape}" for k, shape in list(shapes.items())[:8]) or "none"
    raise DataError(f"{path}: holds the arrays {held}; name the one of shape (N, H, W) or (N, H, W, C) 'images'")


def _bits(path: Path, stored: NDArray[Any] | None) -> int | None:
    if stored is None:
        return None
    if stored.size != 1 or stored.dtype.kind not in "iu" or not 1 <= int(stored.item()) <= 8:
        raise DataError(f"{path}: its array 'bits' is no whole number from 1 to 8; mend or remove it")
    return int(stored.item())


@contextmanager
def _worded(path: Path) -> Iterator[None]:
    """Turn what NumPy and zipfile raise for bad files into one line."""
    try:
        yield
    except DataError:
        raise
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror or e}); check the file and its permissions") from e
    except MemoryError as e:
        raise DataError(f"{path}: says it holds more than there is memory; check the file") from e
    except Exception as e:  # zipfile and the header parser raise BadZipFile, zlib.error, SyntaxError, NotImplementedError ...
        if "pickle" in str(e).lower() or "Python objects" in str(e):
            raise DataError(f"{path}: holds Python objects (pickles); save plain arrays of uint8") from e
        raise DataError(f"{path}: damaged or no NumPy file ({one_line(e)}); write it again with numpy.save(z)") from e
