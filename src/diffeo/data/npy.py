"""NumPy's files, whose headers are held against their sizes before anything is taken: a file cannot
claim memory or time.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError
from .names import refuse_duplicates, shorten

__all__ = ["Npz", "fill", "one_line", "open_npy", "refuse_bomb", "worded"]

# bytes that any file may unpack to, and how often its own size a larger one may be
FREE = 64 << 20
RATIO = 200
MOST_ARRAYS = 1000
MOST_HEADER = 16_384


@dataclass(frozen=True, kw_only=True)
class Header:
    """What stands before the numbers of an array."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    offset: int

    @property
    def size(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def open_npy(path: Path) -> NDArray[Any]:
    """The array of a `.npy` file, mapped into memory. Raises `DataError` if it is damaged, cut
    short, too long, or pickled.
    """
    with worded(path):
        with path.open("rb") as file:
            header = _header(path, file)
        _refuse_size(path, path.stat().st_size - header.offset, header.size)
        if header.size == 0:
            return np.empty(header.shape, header.dtype)
        order: Any = "F" if header.fortran else "C"
        return np.memmap(path, header.dtype, "r", header.offset, header.shape, order)


class Npz:
    """A `.npz` file as a context: the `shapes` of its arrays, from their headers alone, and `read`,
    which unpacks one.

    Raises `DataError` if it is damaged, holds a name twice, or unpacks to far more than its size.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with worded(path):
            self._archive = zipfile.ZipFile(path)
            names = [n for n in self._archive.namelist() if n.endswith(".npy")]
            if len(names) > MOST_ARRAYS:
                raise DataError(
                    f"{path}: holds {len(names):,} arrays, more than {MOST_ARRAYS:,}; put those to"
                    " be read in a file"
                )
            refuse_duplicates(str(path), names)
            self._headers = {}
            for name in names:
                with self._archive.open(name) as member:
                    self._headers[name.removesuffix(".npy")] = _header(
                        path, member, f"its array {name.removesuffix('.npy')!r} "
                    )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: header.shape for name, header in self._headers.items()}

    def read(self, name: str) -> NDArray[Any]:
        """The array of this name, in memory."""
        header = self._headers[name]
        info = self._archive.getinfo(f"{name}.npy")
        with worded(self.path):
            _refuse_size(
                self.path, info.file_size - header.offset, header.size, what=f"its array {name!r} "
            )
            refuse_bomb(self.path, min(info.compress_size, self.path.stat().st_size), header.size)
            with self._archive.open(info) as member:
                member.read(header.offset)
                data = np.empty(header.size, np.uint8)
                # the latter holds the sum against the data
                if fill(member, data) < header.size or member.read(1):
                    raise DataError(
                        f"{self.path}: damaged, its array {name!r} is cut short; write it again"
                    )
        order: Any = "F" if header.fortran else "C"
        return data.view(header.dtype).reshape(header.shape, order=order)

    def unread(self, *used: str) -> tuple[str, ...]:
        """A note that names the arrays other than these."""
        others = [n for n in self.shapes if n not in used]
        return (f"{len(others):,} arrays were not read: {shorten(others, 5)}",) if others else ()


def _header(path: Path, file: IO[bytes], what: str = "") -> Header:
    start = io.BytesIO(file.read(MOST_HEADER))  # which may claim to be gigabytes long
    version = np.lib.format.read_magic(start)
    read: Any = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = read(start)
    if dtype.hasobject:
        raise DataError(
            f"{path}: {what}holds Python objects (pickles); save plain arrays of numbers"
        )
    if min(shape, default=0) < 0 or dtype.itemsize == 0:
        raise DataError(
            f"{path}: {what}damaged, its header says shape {shape} of {dtype}; write it again with"
            " numpy.save(z)"
        )
    if version == (3, 0) and dtype.names is not None:  # read as Latin-1, written in UTF-8
        dtype.names = tuple(n.encode("latin1").decode("utf-8") for n in dtype.names)
    return Header(dtype=dtype, shape=shape, fortran=fortran, offset=start.tell())


def _refuse_size(path: Path, there: int, size: int, *, what: str = "") -> None:
    if there < size:
        raise DataError(
            f"{path}: {what}damaged or cut short, {there:,} of {size:,} bytes of data; write or"
            " fetch it again"
        )
    if there > size:
        raise DataError(
            f"{path}: {what}goes on after the {size:,} bytes of data that its header says"
            f" ({there - size:,} more); save each array in a file of its own"
        )


def fill(file: IO[bytes], data: NDArray[np.uint8]) -> int:
    """Read until the array is full or the file ends; the number of bytes read."""
    view = data.data
    got = 0
    while got < len(data) and (part := file.read(min(1 << 20, len(data) - got))):
        view[got : got + len(part)] = part
        got += len(part)
    return got


def refuse_bomb(path: Path, packed: int, unpacked: int) -> None:
    """Raise `DataError` for what unpacks to far more than its size: a small file must not fill the
    memory.
    """
    if unpacked > max(FREE, RATIO * packed):
        raise DataError(
            f"{path}: unpacks from {packed:,} to {unpacked:,} bytes, more than {RATIO} times its"
            " size; store it unpacked (numpy.save, numpy.savez, gunzip) if that is meant"
        )


@contextmanager
def worded(path: Path) -> Iterator[None]:
    """Turn what NumPy and zipfile raise for bad files into one line."""
    try:
        yield
    except DataError:
        raise
    except OSError as e:
        raise DataError(
            f"{path}: cannot be read ({e.strerror or e}); check the file and its permissions"
        ) from e
    except MemoryError as e:
        raise DataError(f"{path}: says it holds more than there is memory; check the file") from e
    # zipfile and the header parser raise BadZipFile, zlib.error, SyntaxError, TokenError, TypeError
    # ...
    except Exception as e:
        raise DataError(
            f"{path}: damaged or no NumPy file ({one_line(e)}); write it again with numpy.save(z)"
        ) from e


def one_line(error: Exception) -> str:
    """The first line of an error's text, shortened."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
