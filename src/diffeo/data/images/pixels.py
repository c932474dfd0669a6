"""Arrays of pixels: which axis is which, and changes of colour, size and depth that keep them
uint8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.arrays import has_mask
from ...core.errors import ConfigError, DataError
from ...core.wording import argument
from .scale import scale_and_crop

__all__ = ["Pixels", "adjust", "channels_first", "check_range", "kept_bits"]

Pixels = NDArray[np.uint8]
BATCH = 1024  # images converted at a time, so that intermediate sums of 32 bits stay small


def channels_first(label: str, array: NDArray[Any]) -> Pixels:
    """A view (N, C, H, W) of images (N, H, W), (N, H, W, C) or (N, C, H, W) uint8 with C = 1 or 3.

    A last axis of 1 or 3 is the channel axis, whatever the others are; only without one is axis 1
    considered. So (N, 3, W, 3) is read as images of height 3. Raises `DataError` for other shapes
    and types, and if there is nothing.

    >>> import numpy as np
    >>> channels_first("x", np.zeros((5, 8, 6, 3), np.uint8)).shape
    (5, 3, 8, 6)
    """
    _refuse_shape(label, array.shape)
    _refuse_type(label, array)
    if has_mask(array):
        raise DataError(
            f"{label}: {np.ma.getmaskarray(array).sum():,} masked pixels; fill them or leave their"
            " images out"
        )
    array = np.asarray(array)
    if array.ndim == 3:
        return array[:, None]
    return array.transpose(0, 3, 1, 2) if array.shape[3] in (1, 3) else array


def _refuse_shape(label: str, shape: tuple[int, ...]) -> None:
    if len(shape) == 2:
        raise DataError(
            f"{label}: an array of shape {shape} is one image or a table; one image is given as"
            " array[None]"
        )
    if len(shape) not in (3, 4):
        raise DataError(
            f"{label}: an array of shape {shape} holds no images; give one of shape (N, H, W) or"
            " (N, H, W, C)"
        )
    if shape[0] == 0:
        raise DataError(f"{label}: holds no images (its shape is {shape}); give at least one")
    if 0 in shape:
        raise DataError(
            f"{label}: images of size zero (the shape is {shape}); give images of at least one"
            " pixel"
        )
    if len(shape) == 4 and shape[3] not in (1, 3) and shape[1] not in (1, 3):
        alpha = "; drop the alpha channel with array[..., :3]" if shape[3] == 4 else ""
        raise DataError(
            f"{label}: no axis of shape {shape} holds 1 or 3 channels; give (N, H, W, C) or (N, C,"
            f" H, W){alpha}"
        )


def _refuse_type(label: str, array: NDArray[Any]) -> None:
    dtype = array.dtype
    if dtype == np.uint8:
        return
    if dtype.kind not in "biuf":
        raise DataError(
            f"{label}: pixels of type {dtype}, not uint8; give whole numbers from 0 to 255"
        )
    low = np.min(array)
    top = np.max(array)
    if dtype.kind == "f" and low >= 0 and top <= 1:
        hint = f"they lie in {low:g}..{top:g}: convert with (x * 255).round().astype('uint8')"
    elif low >= 0 and top <= 255:
        hint = (
            f"they lie in {low:g}..{top:g}: convert with"
            f" x{'.round()' if dtype.kind == 'f' else ''}.astype('uint8')"
        )
    else:
        hint = (
            f"they lie in {low:g}..{top:g}: scale them to 0..255, and convert with .astype('uint8')"
        )
    raise DataError(f"{label}: pixels of type {dtype}, not uint8; {hint}")


def adjust(
    pixels: Pixels, *, colour: str | None, size: tuple[int, int] | None, have: int, bits: int
) -> Pixels:
    """Images (N, C, H, W) in another colour ("grey", "rgb"), size (h, w) and depth; the same array
    where nothing changes.
    """
    if colour == "grey" and pixels.shape[1] == 3:
        pixels = _by_batch(pixels, (1, *pixels.shape[2:]), _luma)
    if colour == "rgb" and pixels.shape[1] == 1:
        pixels = np.broadcast_to(pixels, (len(pixels), 3, *pixels.shape[2:]))
    if size is not None and size != pixels.shape[2:]:
        top = 2**have - 1  # Lanczos may overshoot
        pixels = _by_batch(
            pixels, (pixels.shape[1], *size), lambda x: np.minimum(_resized(x, size), top)
        )
    return pixels if bits == have else pixels >> np.uint8(have - bits)


def _by_batch(
    pixels: Pixels, event: tuple[int, ...], function: Callable[[Pixels], Pixels]
) -> Pixels:
    out = np.empty((len(pixels), *event), np.uint8)
    for start in range(0, len(pixels), BATCH):
        out[start : start + BATCH] = function(pixels[start : start + BATCH])
    return out


def _luma(pixels: Pixels) -> Pixels:
    """ITU-R 601 luma in Pillow's own integer arithmetic, so that arrays and files become the same
    grey.
    """
    red, green, blue = np.moveaxis(pixels.astype(np.uint32), 1, 0)
    luma: Pixels = ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)
    return luma[:, None]


def _resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    from PIL import Image

    planes: list[Pixels] = [
        np.asarray(scale_and_crop(Image.fromarray(plane), size))
        for image in pixels
        for plane in np.ascontiguousarray(image)
    ]
    return np.stack(planes).reshape(*pixels.shape[:2], *size)


def check_range(label: str, pixels: Pixels, bits: int) -> None:
    """Raise `DataError` unless all pixels lie in 0 .. 2**bits - 1."""
    if bits < 8 and (top := int(pixels.max(initial=0))) >= 2**bits:
        raise DataError(
            f"{label}: declares {bits}-bit pixels but holds the value {top}; give {bits}-bit ones"
            " or declare more"
        )


def kept_bits(label: str, pixels: Pixels, *, declared: int | None, wanted: int | None) -> int:
    """How many bits images that declare some, or None, are to have; the rules are in
    `read_images`.
    """
    have = 8 if declared is None else declared
    check_range(label, pixels, have)
    if wanted is None or wanted == have:
        return have
    if wanted > have:
        raise ConfigError(
            f"{label}: {argument('bits', wanted)} asked of {have}-bit pixels; leave it out or"
            f" give {have} or less"
        )
    if declared is None and 0 < (top := int(pixels.max())) < 2**wanted:
        raise DataError(
            f"{label}: no pixel is above {top}, so they may have {wanted} bits already; say how"
            " many they have (an array 'bits' in the .npz, or diffeo.data.Images(...,"
            f" bits={wanted})) or leave bits={wanted} out"
        )
    return wanted
