"""One PNG or JPEG file: its header without decoding it, and its pixels upright, on white, in grey
or RGB.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import DataError
from ...core.wording import argument
from ..npy import one_line
from .idx import DEFLATE
from .pixels import Pixels
from .scale import scale_and_crop

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "Header",
    "decode",
    "depth_of",
    "notes_on",
    "quiet",
    "read_header",
]

SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_PIXELS = 100_000_000  # read from the header and refused before anything is decoded
ORIENTATION = 0x0112
# EXIF orientation -> Image.Transpose; from 5 on, the sides swap
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


@dataclass(frozen=True)
class Header:
    """What a file says before it is decoded: upright size (h, w), and whether it is grey; what
    cannot stay as it is.
    """

    size: tuple[int, int]
    grey: bool
    _: KW_ONLY
    deep: bool = False
    """16 bits a pixel."""
    changes: tuple[str, ...] = ()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings (odd EXIF blocks, large images): what matters is refused as an
    error.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The file as a Pillow image, not decoded; whatever its parsers stumble over becomes a
    `DataError`.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(path, f"{image.width} × {image.height}")
            if image.format == "PNG":
                _refuse_png(path, image)
            yield image
    except DataError:
        raise
    except Image.DecompressionBombError as e:
        raise _too_large(path, "too many") from e
    except UnidentifiedImageError as e:
        raise DataError(
            f"{path}: is no PNG or JPEG image, or a damaged one; replace or remove it"
        ) from e
    # decoders of hostile files raise anything: OSError, SyntaxError, struct.error, IndexError ...
    except Exception as e:
        if isinstance(e, OSError) and e.strerror:
            raise DataError(
                f"{path}: cannot be read ({e.strerror}); check the file and its permissions"
            ) from e
        raise DataError(
            f"{path}: the image is damaged or cut short ({one_line(e)}); replace or remove it"
        ) from e


def _too_large(path: Path, size: str) -> DataError:
    return DataError(
        f"{path}: {size} pixels, beyond the limit of {MAX_PIXELS // 10**6} megapixels; scale it"
        " down first"
    )


def _refuse_png(path: Path, image: Image.Image) -> None:
    """Refuse animations, of which one picture would be read, and sizes that the file cannot be
    packed from.
    """
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise DataError(
            f"{path}: an animation of {frames:,} pictures; save each in a file of its own"
        )
    if image.width * image.height // 8 > DEFLATE * path.stat().st_size:
        raise DataError(
            f"{path}: the image is damaged or cut short, too small for its pixels; replace or"
            " remove it"
        )


def read_header(path: Path) -> Header:
    """Size and colour from the header alone. Raises `DataError` if the file is no image or beyond
    `MAX_PIXELS`.
    """
    with _opened(path) as image:
        # a PNG without the block would be decoded to look for it
        swap = "exif" in image.info and _orientation(image) >= 5
        size = (image.width, image.height) if swap else (image.height, image.width)
        changes = tuple(words for words, applies in CHANGES.items() if applies(image))
        return Header(size, _is_grey(image), deep=_is_deep(path, image), changes=changes)


def _is_deep(path: Path, image: Image.Image) -> bool:
    if image.format != "PNG":
        return False
    with path.open("rb") as file:
        return file.read(25)[24:] == b"\x10"  # the depth, which Pillow does not tell of colours


def depth_of(paths: Sequence[Path], headers: Sequence[Header], given: int | None) -> int:
    """How many bits the 16-bit files hold: what is given, or 16 if a value needs them all.

    Raises `DataError` if none does, for then they may hold fewer.
    """
    deep = [p for p, h in zip(paths, headers, strict=True) if h.deep]
    top = 0
    for path in deep if given is None else ():
        top = max(top, _top(path))
        if top >= 2**15:
            break
    if given is None and deep and top < 2**15:
        least = max(8, top.bit_length())
        raise DataError(
            f"{deep[0]}: {len(deep):,} files of 16 bits hold no value above {top:,}, so they may"
            f" hold {least} bits; say how many they hold with {argument('depth', least)}, or"
            f" {argument('depth', 16)} if they are that dark"
        )
    return given or 16


def _top(path: Path) -> int:
    """The largest value in a 16-bit file; of colours the largest that Pillow's upper 8 bits may
    stand for.
    """
    with _opened(path) as image:
        top = int(np.array(image).max())
        return top if _is_wide(image) else 256 * top + 255


def _is_wide(image: Image.Image) -> bool:
    """True where Pillow keeps 16 bits, which it does of grey images alone."""
    return image.mode == "I" or image.mode.startswith("I;16")


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


def decode(
    path: Path, colour: str, *, size: tuple[int, int] | None = None, bits: int = 16
) -> Pixels:
    """The pixels (C, H, W) of a file, with `colour` "grey" (C = 1) or "rgb" (C = 3), scaled and
    cropped to `size` (h, w).

    The EXIF orientation is applied, transparent pixels are laid on white, palettes are resolved,
    values of 16-bit files, which hold `bits`, keep the upper 8 of them, and CMYK becomes RGB.
    Raises `DataError` if the file is damaged, beyond `MAX_PIXELS`, or holds larger values.
    """
    with _opened(path) as image:
        _verify(path)
        if bits < 16 and not _is_wide(image) and _is_deep(path, image):
            raise DataError(
                f"{path}: colours or transparency of 16 bits, of which {bits} cannot be read; save"
                " it with 8 bits"
            )
        image.load()
        turn = TURNS.get(_orientation(image))
        flat = _opaque(path, image, bits).convert("L" if colour == "grey" else "RGB")
        upright = flat if turn is None else flat.transpose(_transpose(turn))
        array = np.array(upright if size is None else scale_and_crop(upright, size))
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))


def _transpose(turn: int) -> Image.Transpose:
    from PIL import Image

    return Image.Transpose(turn)


def _verify(path: Path) -> None:
    """Hold a PNG's check sums against its data, which Pillow leaves out when it decodes."""
    with _opened(path) as image:
        image.verify()


def _opaque(path: Path, image: Image.Image, bits: int) -> Image.Image:
    from PIL import Image

    if _is_wide(image):
        return _upper_bits(path, image, bits)
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)


def _upper_bits(path: Path, image: Image.Image, bits: int) -> Image.Image:
    from PIL import Image

    values = np.array(image).astype(np.int64).clip(0, 65535)
    if (top := int(values.max())) >= 2**bits:
        raise DataError(
            f"{path}: holds the value {top:,}, which needs more than depth={bits} bits; give"
            f" {top.bit_length()}"
        )
    eight = (values >> (bits - 8)).astype(np.uint8)
    # in a grey PNG of 16 bits: the one value that is transparent
    clear = image.info.get("transparency")
    return Image.fromarray(
        np.where(values == clear, np.uint8(255), eight) if isinstance(clear, int) else eight
    )


def notes_on(headers: Sequence[Header], bits: int) -> tuple[str, ...]:
    """What of these files does not stay as it is, and of how many."""
    counts = Counter(words for h in headers for words in h.changes)
    if deep := sum(h.deep for h in headers):
        counts[f"16 bits, of which {bits} hold values: the upper 8 of these are kept"] = deep
    return tuple(f"{n:,} × {words}" for words, n in counts.items())


CHANGES: dict[str, Callable[[Image.Image], bool]] = {
    "transparency: laid on white": lambda image: bool(image.has_transparency_data),
    "CMYK: turned into RGB": lambda image: image.mode == "CMYK",
    "more than one picture in a file: the first is read": lambda image: image.format == "MPO",
}
