"""One PNG or JPEG file: its header without decoding it, and its pixels upright, on white, in grey or RGB."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..core.errors import DataError
from .npy import one_line
from .pixels import Pixels

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["MAX_PIXELS", "SUFFIXES", "Header", "decode", "fit", "quiet", "read_header"]

SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_PIXELS = 100_000_000  # read from the header and refused before anything is decoded
ORIENTATION = 0x0112
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF orientation -> Image.Transpose; from 5 on, the sides swap


class Header(NamedTuple):
    """What a file says before it is decoded: upright size (h, w), and whether it is grey."""

    size: tuple[int, int]
    grey: bool


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings (odd EXIF blocks, large images): what matters is refused as an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The file as a Pillow image, not decoded; whatever its parsers stumble over becomes a `DataError`."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(path, f"{image.width} × {image.height}")
            yield image
    except DataError:
        raise
    except Image.DecompressionBombError as e:
        raise _too_large(path, "too many") from e
    except UnidentifiedImageError as e:
        raise DataError(f"{path}: is no PNG or JPEG image, or a damaged one; replace or remove it") from e
    except Exception as e:  # decoders of hostile files raise anything: OSError, SyntaxError, struct.error, IndexError ...
        if isinstance(e, OSError) and e.strerror:
            raise DataError(f"{path}: cannot be read ({e.strerror}); check the file and its permissions") from e
        raise DataError(f"{path}: the image is damaged or cut short ({one_line(e)}); replace or remove it") from e


def _too_large(path: Path, size: str) -> DataError:
    return DataError(f"{path}: {size} pixels, beyond the limit of {MAX_PIXELS // 10**6} megapixels; scale it down first")


def read_header(path: Path) -> Header:
    """Size and colour from the header alone. Raises `DataError` if the file is no image or beyond `MAX_PIXELS`."""
    with _opened(path) as image:
        swap = "exif" in image.info and _orientation(image) >= 5  # a PNG without the block would be decoded to look for it
        size = (image.width, image.height) if swap else (image.height, image.width)
        return Header(size, _is_grey(image))


def _is_grey(image: Image.Image) -> bool:
    if image.mode == "P" and image.palette is not None:
        palette = np.frombuffer(bytes(image.palette.palette), np.uint8).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a broken EXIF block is no reason to refuse sound pixels
        return 1


def decode(path: Path, colour: str, size: tuple[int, int] | None = None) -> Pixels:
    """The pixels (C, H, W) of a file, with `colour` "grey" (C = 1) or "rgb" (C = 3), scaled and cropped to `size` (h, w).

    The EXIF orientation is applied, transparent pixels are laid on white, palettes are resolved, grey values of 16 bits
    keep their upper 8 and CMYK becomes RGB. Raises `DataError` if the file is damaged or beyond `MAX_PIXELS`.
    """
    with _opened(path) as image:
        image.load()
        turn = TURNS.get(_orientation(image))
        flat = _opaque(image).convert("L" if colour == "grey" else "RGB")
        upright = flat if turn is None else flat.transpose(_transpose(turn))
        array = np.array(upright if size is None else fit(upright, size))
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))


def _transpose(turn: int) -> Image.Transpose:
    from PIL import Image

    return Image.Transpose(turn)


def _opaque(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode == "I" or image.mode.startswith("I;16"):
        return _upper_bits(image)
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)


def _upper_bits(image: Image.Image) -> Image.Image:
    from PIL import Image

    values = np.array(image).astype(np.int64)
    eight = (values.clip(0, 65535) >> 8).astype(np.uint8)
    clear = image.info.get("transparency")  # in a grey PNG of 16 bits: the one value that is transparent
    return Image.fromarray(np.where(values == clear, np.uint8(255), eight) if isinstance(clear, int) else eight)


def fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """An image scaled (antialiased, Lanczos) to cover `size` (h, w), and cropped to it about its centre."""
    from PIL import Image, ImageOps

    if (image.height, image.width) == size:
        return image
    return ImageOps.fit(image, (size[1], size[0]), Image.Resampling.LANCZOS)
