"""Images in NumPy files: `.npy` mapped into memory, `.npz` with `images` and, if there are any,
`labels`.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ...core.errors import DataError
from ..npy import Npz, open_npy

__all__ = ["Stored", "read_array_file", "shapes_in"]

OWN = ("labels", "bits", "classes")


@dataclass(frozen=True)
class Stored:
    """What a file of arrays holds; `bits` and `classes` only where it says so itself."""

    images: NDArray[Any]
    _: KW_ONLY
    labels: NDArray[Any] | None = None
    bits: int | None = None
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a `.npy` (under the name "") or `.npz` file, from the headers
    alone.
    """
    if path.suffix.lower() == ".npy":
        return {"": open_npy(path).shape}
    with Npz(path) as file:
        return file.shapes


def read_array_file(path: Path) -> Stored:
    """The array of a `.npy`, or `images`, `labels`, `bits` and `classes` of a `.npz` file, nothing
    checked yet.

    A `.npz` without `images` may have any name for its only array of three or four axes. Raises
    `DataError` if there is none or a choice, and if the file is damaged or holds Python objects.
    """
    if path.suffix.lower() == ".npy":
        return Stored(open_npy(path))
    with Npz(path) as file:
        key = _key(path, file.shapes)
        part = {k: file.read(k) for k in (key, *OWN) if k in file.shapes}
        notes = file.unread(key, *OWN)
    classes = tuple(map(str, part["classes"].ravel())) if "classes" in part else None
    return Stored(
        part[key],
        labels=part.get("labels"),
        bits=_bits(path, part.get("bits")),
        classes=classes,
        notes=notes,
    )


def _key(path: Path, shapes: dict[str, tuple[int, ...]]) -> str:
    deep = (
        ["images"]
        if "images" in shapes
        else [k for k, shape in shapes.items() if len(shape) in (3, 4)]
    )
    if len(deep) == 1:
        return deep[0]
    held = ", ".join(f"{k} {shape}" for k, shape in list(shapes.items())[:8]) or "none"
    raise DataError(
        f"{path}: holds the arrays {held}; name the one of shape (N, H, W) or (N, H, W, C) 'images'"
    )


def _bits(path: Path, stored: NDArray[Any] | None) -> int | None:
    if stored is None:
        return None
    if stored.size != 1 or stored.dtype.kind not in "iu" or not 1 <= int(stored.item()) <= 8:
        raise DataError(
            f"{path}: its array 'bits' is no whole number from 1 to 8; mend or remove it"
        )
    return int(stored.item())
