"""IDX files, the format of MNIST: four bytes of magic, big-endian sizes, and numbers; gzipped or
not.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError
from ..npy import fill, refuse_bomb

__all__ = ["is_idx", "labels_beside", "read_idx"]

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4"}
DEFLATE = 1040  # deflate packs at most 1,032 to 1


def is_idx(path: Path, axes: tuple[int, ...] = (1, 2, 3, 4)) -> bool:
    """True if a file begins like an IDX file with one of these numbers of axes; looks at four
    bytes.
    """
    try:
        with _open(path) as file:
            magic = file.read(4)
    except (OSError, EOFError, zlib.error):
        return False
    return len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] in TYPES and magic[3] in axes


def labels_beside(path: Path) -> Path | None:
    """The file of labels that belongs to a file of images by its name, if it exists.

    `train-images-idx3-ubyte.gz` -> `train-labels-idx1-ubyte.gz`, or the same without `.gz`.
    """
    name = path.name.replace("images", "labels").replace("idx3", "idx1")
    if "images" not in path.name:
        return None
    plain = name.removesuffix(".gz")
    return next(
        (path.with_name(n) for n in (name, plain, plain + ".gz") if path.with_name(n).is_file()),
        None,
    )


def read_idx(path: Path, axes: tuple[int, ...]) -> NDArray[Any]:
    """The array of an IDX file, which must have one of these numbers of axes.

    The sizes in the header are held against the size of the file before memory is taken, and no
    more than they say is unpacked. Raises `DataError` if they do not fit, or the file is damaged,
    cut short or too long.
    """
    try:
        with _open(path) as file:
            dtype, shape = _header(path, file, axes)
            size = math.prod(shape) * dtype.itemsize
            _refuse_size(path, size, 4 + 4 * len(shape))
            data = np.empty(size, np.uint8)
            got = fill(file, data)
            if got < size:
                raise DataError(
                    f"{path}: cut short, {got:,} of {size:,} bytes of data; fetch it again"
                )
            if file.read(1):
                raise DataError(
                    f"{path}: goes on after the {size:,} bytes of data that its header says; fetch"
                    " it again"
                )
    except OSError as e:  # BadGzipFile too
        raise DataError(
            f"{path}: cannot be read ({e.strerror or e}); check or fetch it again"
        ) from e
    except (EOFError, zlib.error) as e:
        raise DataError(f"{path}: the gzip file is damaged or cut short; fetch it again") from e
    except MemoryError as e:
        raise DataError(
            f"{path}: its header says {size:,} bytes, more than there is memory; check the file"
        ) from e
    return data.view(dtype).reshape(shape)


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb")) if packed else path.open("rb")


def _header(
    path: Path, file: IO[bytes], axes: tuple[int, ...]
) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES:
        raise DataError(
            f"{path}: is no IDX file of whole numbers (it begins with {magic.hex() or 'nothing'});"
            " fetch it again"
        )
    if magic[3] not in axes:
        holds, wanted = ("labels", "images") if magic[3] == 1 else ("images", "labels")
        raise DataError(
            f"{path}: has {magic[3]} axes, so it may hold {holds}, not {wanted}; name the file of"
            f" the {wanted}"
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{path}: cut short within its header; fetch it again")
    return np.dtype(TYPES[magic[2]]), struct.unpack(f">{magic[3]}I", sizes)


def _refuse_size(path: Path, size: int, header: int) -> None:
    """Refuse a header that the file cannot fulfil: exactly for a plain file, by the limit of its
    packing for a gzipped one.
    """
    on_disk = os.path.getsize(path)
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    room = DEFLATE * on_disk if packed else on_disk - header
    if packed:
        refuse_bomb(path, on_disk, min(size, room))
    if size > room:
        raise DataError(
            f"{path}: its header says {size:,} bytes of data, the file has room for {room:,}; fetch"
            " it again"
        )
