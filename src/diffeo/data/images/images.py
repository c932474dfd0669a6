"""Images: uint8 arrays with class labels, from folders, single files, NumPy and IDX files, and
arrays.
"""

from __future__ import annotations

import operator
import os
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import ConfigError, DataError
from ...core.wording import argument
from .labels import label_values, number_labels, renumber
from .pictures import MAX_PIXELS
from .pixels import Pixels, adjust, kept_bits
from .sources import DIGITS, Options, Raw, open_images, path_looks
from .write import grid, write_images

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Images", "grid", "looks_like_images", "read_images", "write_images"]


@dataclass(frozen=True, eq=False)
class Images:
    """Images of one size, and what is known of them.

    `pixels` (N, C, H, W) uint8 with C = 1 or 3 lie in 0 .. 2**bits - 1; they may be a read-only
    memory map and need not be contiguous. `labels` (N,) int64 are class numbers 0 .. K-1 and
    `classes` their names. `source` says what was read, `names` are the files of a folder relative
    to it, `notes` say what was not read, or not as it stands.
    """

    pixels: Pixels
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...]
    bits: int
    source: str
    names: tuple[str, ...] = field(repr=False)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is no batch of images, or has labels for another number of them."""
        p = self.pixels
        if p.ndim != 4 or p.shape[1] not in (1, 3) or p.dtype != np.uint8:
            raise DataError(
                f"{self.source}: Images of {p.dtype} pixels of shape {p.shape}; give uint8 (N, 1 or"
                " 3, H, W)"
            )
        if self.labels is not None and self.labels.shape != (len(p),):
            raise DataError(
                f"{self.source}: labels of shape {self.labels.shape} for {len(p):,} images; give"
                " one for each"
            )

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def event_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    def tensors(self) -> tuple[Tensor, Tensor | None]:
        """Pixels (N, C, H, W) uint8 and class numbers (N,) or None, in the arrays' own memory: not
        to be written to.
        """
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a memory map is read-only
            return torch.from_numpy(self.pixels), (
                None if self.labels is None else torch.from_numpy(self.labels)
            )

    def subset(self, index: Any) -> Images:
        """The images of a slice (a view), or of numbers or a mask (a copy); one number gives a
        batch of one.

        >>> read_images("sklearn:digits").subset(7).event_shape
        (1, 8, 8)
        """
        index = index if isinstance(index, slice) else np.atleast_1d(np.asarray(index))
        where = np.arange(len(self))[
            index if isinstance(index, slice) or index.size else index.astype(np.int64)
        ]
        labels = None if self.labels is None else self.labels[where]
        names = tuple(self.names[i] for i in where) if self.names else ()
        return replace(
            self,
            pixels=self.pixels[index if isinstance(index, slice) else where],
            labels=labels,
            names=names,
        )


def read_images(
    source: Any,
    *,
    labels: Any = None,
    bits: int | None = None,
    resize: int | tuple[int, int] | None = None,
    colour: str | None = None,
    cache: str | os.PathLike[str] | None = None,
    classes: tuple[str, ...] | None = None,
    depth: int | None = None,
) -> Images:
    """Read images of one size, in an order that is always the same.

    Args:
        source: a folder of PNG and JPEG files, whose first sub-folders, if there are any, are the
            classes; one such file; `.npy` or `.npz` (`images`, and optionally `labels`, `bits`,
            `classes`; without `images` its only array of three or four axes); an IDX file as of
            MNIST, with its labels beside it; "sklearn:digits"; an array or tensor of uint8;
            `Images`. Arrays are (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3; where both
            of the last two are possible, (N, H, W, C) is meant.
        labels: one label an image, whole numbers or text, instead of the source's own: an array or
            sequence, an IDX or `.npy` file, or for a folder a CSV file with columns `file` and
            `label`.
        bits: depth of the result, 1 to 8. Pixels of more bits are shifted right, x >> (have -
            bits). What they have is 8, unless the source declares less: "sklearn:digits" 5 (its
            values are 0 to 16), `Images` and `.npz` what they say. Declared pixels are kept if they
            have `bits` already. An array, `.npy` or `.npz` that declares nothing and whose largest
            pixel is above 0 and below 2**bits is refused, for it may have been reduced before; PNG,
            JPEG and IDX files always have 8 bits.
        resize: (height, width) or a side; images are scaled (Lanczos) to cover it and cropped about
            their centre.
        colour: "grey" or "rgb"; None keeps one channel if every file is stored as grey, else three.
        cache: a folder that keeps decoded folders for the next run; without it they live in a
            temporary file.
        classes: the classes of a training set; labels are numbered as there, by name.
        depth: how many bits PNG files of 16 bits hold, 8 to 16; the upper 8 of them are kept.
            Without it they must hold a value of 2^15 or more, which needs all 16: others are
            refused, for they may hold 8, 10 or 12 bits.

    Without `classes` the labels that occur are sorted, whole numbers by size and text as text, and
    numbered from 0.

    Raises:
        DataError: one line that names the file and says how to mend it.
        ConfigError: an option is not valid.

    >>> images = read_images("sklearn:digits")
    >>> len(images), images.event_shape, images.bits, images.classes[:3]
    (1797, (1, 8, 8), 5, ('0', '1', '2'))
    """
    options = Options(
        labels=labels,
        bits=_bits(bits),
        size=_size(resize),
        colour=_colour(colour),
        cache=None if cache is None else Path(cache),
        depth=_depth(depth),
    )
    if isinstance(source, Images):
        old = None if labels is not None else source.labels
        known = None if labels is not None else source.classes
        raw = Raw(
            source.source,
            source.pixels,
            values=None,
            bits=source.bits,
            classes=known,
            names=source.names,
            notes=source.notes,
        )
    else:
        raw = open_images(source, options)
        old = None
    if options.labels is not None and raw.values is None:
        raw.values = label_values(raw.source, options.labels)
    kept = kept_bits(raw.source, raw.pixels, declared=raw.bits, wanted=options.bits)
    numbers, names = _numbered(raw, old, None if classes is None else tuple(classes))
    pixels = adjust(
        raw.pixels, colour=options.colour, size=options.size, have=raw.bits or 8, bits=kept
    )
    return Images(pixels, numbers, names, kept, raw.source, raw.names, raw.notes)


def _numbered(raw: Raw, old: Any, classes: tuple[str, ...] | None) -> tuple[Any, tuple[str, ...]]:
    """Class numbers and names, from labels as they come or from numbers (of `Images`) that have
    names already.
    """
    if raw.values is not None:
        values = np.asarray(raw.values)
        if raw.classes and values.dtype.kind in "biu":
            return _named(raw, values, classes)
        return number_labels(raw.source, values, len(raw.pixels), classes=classes)
    return (None, ()) if old is None else _named(raw, old, classes)


def _named(raw: Raw, numbers: Any, classes: tuple[str, ...] | None) -> tuple[Any, tuple[str, ...]]:
    names = raw.classes or ()
    if len(numbers) != len(raw.pixels) or (
        len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(names)
    ):
        raise DataError(
            f"{raw.source}: its labels do not number its {len(raw.pixels):,} images by its"
            f" {len(names)} classes"
        )
    if classes is None or classes == names:
        return numbers.astype(np.int64), names
    return renumber(raw.source, numbers, old=names, classes=classes)


def _bits(bits: int | None) -> int | None:
    if bits is not None and (
        isinstance(bits, bool) or not isinstance(bits, (int, np.integer)) or not 1 <= bits <= 8
    ):
        raise ConfigError(f"{argument('bits', bits)}; give a whole number from 1 to 8")
    return None if bits is None else int(bits)


def _depth(depth: int | None) -> int | None:
    if depth is not None and (
        isinstance(depth, bool) or not isinstance(depth, (int, np.integer)) or not 8 <= depth <= 16
    ):
        raise ConfigError(f"{argument('depth', depth)}; give a whole number from 8 to 16")
    return None if depth is None else int(depth)


def _size(resize: Any) -> tuple[int, int] | None:
    if resize is None:
        return None
    try:
        height, width = map(
            operator.index, resize if isinstance(resize, (tuple, list)) else (resize, resize)
        )
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise ConfigError(
            f"{argument('resize', resize)}; give a height and a width, or one side, in pixels"
        )
    return height, width


def _colour(colour: str | None) -> str | None:
    if colour not in (None, "grey", "rgb"):
        raise ConfigError(f"{argument('colour', colour)}; give 'grey' or 'rgb'")
    return colour


def looks_like_images(source: Any) -> bool:
    """True if a source is for `read_images` rather than for `read_table`; looks at names and
    headers only.

    A folder always is, for no table is one. NumPy files and arrays are if they have three or four
    axes.

    >>> import numpy as np
    >>> [looks_like_images(x) for x in ("sklearn:digits", "people.csv", np.zeros((5, 2)))]
    [True, False, False]
    """
    if isinstance(source, (str, os.PathLike)):
        return str(source) == DIGITS or path_looks(Path(source))
    return isinstance(source, Images) or getattr(source, "ndim", 0) in (3, 4)
