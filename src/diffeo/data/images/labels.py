"""Class labels: from numbers or names as they come to class numbers 0 .. K-1 and the names of the
classes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.arrays import has_mask
from ...core.errors import DataError
from ...core.files import refuse_special
from ..names import shorten
from .arrays import read_array_file
from .idx import is_idx, read_idx

__all__ = ["label_values", "number_labels", "renumber"]

Labels = NDArray[np.int64]


def label_values(label: str, labels: Any) -> NDArray[Any]:
    """The labels (N,) of an array, a tensor, a sequence, or an IDX or `.npy` file; whole numbers or
    text.

    Raises `DataError` for other types and shapes.
    """
    if isinstance(labels, (str, os.PathLike)):
        label, labels = str(labels), _from_file(Path(labels))
    values = _values(label, labels.detach().cpu() if hasattr(labels, "detach") else labels)
    if values.ndim != 1:
        raise DataError(
            f"{label}: labels of shape {values.shape}; give one for each image, of shape (N,)"
        )
    if values.dtype.kind not in "biuU":
        raise DataError(f"{label}: labels of type {values.dtype}; give whole numbers or text")
    return values


def _values(label: str, labels: Any) -> NDArray[Any]:
    """NumPy's view of labels, of which none is masked, and all are text or none is: it makes text
    of numbers beside text.
    """
    if has_mask(labels):
        raise DataError(
            f"{label}: {np.ma.getmaskarray(labels).sum():,} masked labels; give one for each image"
        )
    values = np.asarray(labels)
    if values.dtype.kind not in "UO" or values.ndim != 1:
        return values
    odd = [v for v in labels if not isinstance(v, str)]
    if odd:
        raise DataError(
            f"{label}: {len(odd):,} of {len(values):,} labels are no text, such as {odd[0]!r}; give"
            " all as text"
        )
    return values.astype(str)


def _from_file(path: Path) -> NDArray[Any]:
    refuse_special(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path of the labels")
    if path.suffix.lower() == ".npy":
        return read_array_file(path).images
    if is_idx(path):
        return read_idx(path, (1,))
    raise DataError(
        f"{path}: no labels in a known format; give an IDX or .npy file (a CSV file goes with a"
        " folder)"
    )


def number_labels(
    label: str, values: Sequence[str] | NDArray[Any], count: int, *, classes: tuple[str, ...] | None
) -> tuple[Labels, tuple[str, ...]]:
    """Class numbers (N,) int64 and class names. Without `classes`, these are the values that occur,
    sorted.

    Whole numbers are sorted by size, text as text. Raises `DataError` for a wrong number of labels
    and for one that is not among `classes`.

    >>> number_labels("x", [7, 10, 7], 3, classes=None)
    (array([0, 1, 0]), ('7', '10'))
    """
    array = np.asarray(values)
    if len(array) != count:
        raise DataError(f"{label}: {len(array):,} labels for {count:,} images; give one for each")
    distinct, numbers = np.unique(
        array.astype(np.int64) if array.dtype.kind == "b" else array, return_inverse=True
    )
    names = [str(v) for v in distinct]
    return _onto(
        label, names, classes=tuple(names) if classes is None else classes, numbers=numbers
    )


def renumber(
    label: str, labels: Labels, *, old: tuple[str, ...], classes: tuple[str, ...]
) -> tuple[Labels, tuple[str, ...]]:
    """Class numbers of `old` names as those of `classes`, by name. Raises `DataError` if one that
    occurs is not there.
    """
    used, numbers = np.unique(labels, return_inverse=True)
    return _onto(label, [old[k] for k in used], classes=classes, numbers=numbers)


def _onto(
    label: str, names: list[str], *, classes: tuple[str, ...], numbers: Labels
) -> tuple[Labels, tuple[str, ...]]:
    unknown = [n for n in names if n not in classes]
    if unknown:
        raise DataError(
            f"{label}: the label {unknown[0]!r} is none of the classes {shorten(classes)}; leave"
            " its images out"
        )
    return np.array([classes.index(n) for n in names], np.int64)[numbers.reshape(-1)], classes
