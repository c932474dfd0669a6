"""Images to files: a grid to look at, or arrays to read again."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import ConfigError, DataError
from ...core.files import atomic
from .pictures import MAX_PIXELS
from .pixels import Pixels, check_range

__all__ = ["grid", "write_images"]

LIGHT = 232  # the ground between tiles: neither black nor white, so that the edge of a tile is seen
VISIBLE = 64  # smaller tiles are enlarged as long as they stay within this many pixels


def grid(pixels: Any, columns: int | None = None, *, pad: int = 2, bits: int = 8) -> Pixels:
    """A picture (H', W', 3) uint8 of images (N, C, H, W), row by row on a light ground with `pad`
    pixels between them.

    Pixels of less than 8 bits are scaled to the full range and tiles below 64 pixels enlarged by a
    whole factor. The grid is square unless `columns` says otherwise. Raises `DataError` for other
    shapes and for too large a picture.

    >>> import numpy as np
    >>> grid(np.zeros((10, 1, 8, 8), np.uint8), columns=5).shape
    (134, 332, 3)
    """
    images = _checked("grid", pixels, bits)
    n, _, height, width = images.shape
    if columns is not None and columns < 1:
        raise ConfigError(f"grid: columns={columns}; give 1 or more")
    across = min(n, columns or math.ceil(math.sqrt(n)))
    zoom = max(1, VISIBLE // max(height, width))
    high = height * zoom + pad
    wide = width * zoom + pad
    shape = (math.ceil(n / across) * high + pad, across * wide + pad, 3)
    if shape[0] * shape[1] > MAX_PIXELS:
        raise DataError(
            f"grid: {n:,} images make {shape[0]:,} × {shape[1]:,} pixels; take fewer, or write .npz"
        )
    scale = np.round(np.arange(2**bits) * (255 / (2**bits - 1))).astype(np.uint8)
    picture = np.full(shape, LIGHT, np.uint8)
    for k, image in enumerate(images):
        top = pad + k // across * high
        left = pad + k % across * wide
        tile = scale[image.transpose(1, 2, 0)].repeat(zoom, 0).repeat(zoom, 1)
        # grey spreads over the three channels
        picture[top : top + high - pad, left : left + wide - pad] = tile
    return picture


def _checked(label: str, pixels: Any, bits: int) -> Pixels:
    """Images (N, C, H, W) or (N, H, W) as (N, C, H, W), the channels second whatever the last axis
    is.
    """
    if not 1 <= bits <= 8:
        raise ConfigError(f"{label}: bits={bits}; give a number from 1 to 8")
    array = _array(pixels)
    array = array[:, None] if array.ndim == 3 else array
    if (
        array.ndim != 4
        or array.shape[1] not in (1, 3)
        or 0 in array.shape
        or array.dtype != np.uint8
    ):
        raise DataError(
            f"{label}: no images in a {array.dtype} array of shape {array.shape}; give uint8 (N, 1"
            " or 3, H, W)"
        )
    check_range(label, array, bits)
    return array


def _array(values: Any) -> NDArray[Any]:
    """The NumPy array of an array or tensor."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def write_images(
    path: str | os.PathLike[str],
    pixels: Any,
    labels: Any = None,
    *,
    classes: Sequence[str] = (),
    columns: int | None = None,
    bits: int = 8,
) -> None:
    """Write images (N, C, H, W) uint8, array or tensor; the suffix chooses what, and it appears
    whole or not at all.

    `.png`: a picture of all of them, as `grid` makes it. `.npz`: `images` (N, H, W) or (N, H, W,
    3), `labels` (N,) if given, with the names of the `classes` that they number, and `bits` if
    below 8, so that `read_images` reads all as it was. `.npy`: the images alone, which cannot say
    their bits. Raises `DataError` for other suffixes and shapes, and if the file cannot be written.

    >>> import tempfile, pathlib, numpy as np, diffeo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "samples.npz")
    ...     write_images(path, np.full((4, 3, 8, 6), 31, np.uint8), bits=5)
    ...     diffeo.data.read_images(path).bits
    5
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".png", ".npz", ".npy"):
        raise DataError(f"{path}: unknown kind of file for images; use .png, .npz or .npy")
    images = _checked(str(path), pixels, bits)
    numbers = None if labels is None else _array(labels)
    if numbers is not None and numbers.shape != (len(images),):
        raise DataError(
            f"{path}: labels of shape {numbers.shape} for {len(images):,} images; give one for each"
        )
    picture = grid(images, columns, bits=bits) if suffix == ".png" else None
    try:
        with atomic(path) as temporary, temporary.open("wb") as file:
            if picture is not None:
                from PIL import Image

                Image.fromarray(picture).save(file, format="PNG")
            else:
                _write_arrays(file, suffix, images, labels=numbers, classes=classes, bits=bits)
    except OSError as e:
        raise DataError(
            f"{path}: cannot be written ({e.strerror or e}); free some space or name another file"
        ) from e


def _write_arrays(
    file: Any, suffix: str, images: Pixels, *, labels: Any, classes: Sequence[str], bits: int
) -> None:
    plain = images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
    if suffix == ".npy":
        np.save(file, plain, allow_pickle=False)
        return
    arrays: dict[str, Any] = {"images": plain}
    if labels is not None:
        arrays["labels"] = labels
        if classes:
            arrays["classes"] = np.array(list(classes))
    if bits < 8:
        arrays["bits"] = np.array(bits)
    np.savez(file, **arrays)
