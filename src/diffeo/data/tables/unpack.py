"""The bytes of a text table: unpacked, decoded to UTF-8, with plain line ends, and never more than
the file can be worth.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...core.errors import DataError
from ...core.wording import argument

__all__ = ["HEAD", "blocks", "encoding_of", "first_bytes"]

HEAD = 1 << 20  # bytes from which the dialect is judged
LINES = 1 << 20  # so many lines at a time: a file may consist of line ends alone
# bytes after which unpacking may not have multiplied them by more
FREE = 4 << 20
RATIO = 200


def first_bytes(path: Path, size: int = HEAD) -> bytes:
    """The first bytes of a file, unpacked if it is gzipped but not decoded."""
    return next(_raw(path, size))


def encoding_of(head: bytes) -> str:
    """Name of the encoding of a file that begins so. What is neither UTF-8, -16 nor -32 is read as
    Windows-1252 (Latin-1).
    """
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(head) >= 4 and 0 in head[:4096]:
        part = np.frombuffer(head[:4096], dtype=np.uint8)
        if (part[1::2] == 0).mean() > 0.9 and (part[::2] != 0).all():
            return "utf-16-le"
        if (part[::2] == 0).mean() > 0.9 and (part[1::2] != 0).all():
            return "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def blocks(path: Path, encoding: str, size: int, *, skip: int = 0) -> Iterator[bytes]:
    """The file from line `skip` + 1 on, in pieces of about `size` bytes and at most `LINES` lines,
    as UTF-8 with newlines.

    Raises `DataError` for a damaged gzip file and for one that holds far more than its size lets
    one expect.
    """
    for piece in _plain_lines(path, encoding, size):
        while skip and piece:
            end = piece.find(b"\n") + 1
            skip -= end > 0
            piece = piece[end:] if end else b""
        step = len(piece) if piece.count(b"\n") <= LINES else LINES
        yield from (piece[at : at + step] for at in range(0, len(piece), step or 1))


def _plain_lines(path: Path, encoding: str, size: int) -> Iterator[bytes]:
    decode = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)("replace")
    held = b""
    for piece in _raw(path, size if decode is None else max(1, size // 2)):
        try:
            text = (
                piece
                if decode is None
                else decode.decode(piece, final=not piece).encode("utf-8", "replace")
            )
        except UnicodeError as e:
            raise DataError(
                f"{path}: not text in {encoding} ({e}); name another with"
                f" {argument('dialect', 'encoding=...')}"
            ) from None
        text = held + text
        # its newline may come with the next piece
        held = b"\r" if piece and text.endswith(b"\r") else b""
        yield _unix(text[: len(text) - len(held)])


def _raw(path: Path, size: int) -> Iterator[bytes]:
    """The unpacked bytes of a file, and then b""."""
    total = 0
    try:
        with path.open("rb", buffering=0) as packed, _reader(packed) as file:
            while piece := file.read(size):
                total += len(piece)
                _refuse_bomb(
                    path,
                    piece=piece,
                    total=total,
                    packed=packed.tell() if isinstance(file, gzip.GzipFile) else total,
                )
                yield piece
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise DataError(
            f"{path}: the gzip file is damaged or cut short ({e}); fetch or pack it again"
        ) from e
    yield b""


def _reader(raw: io.FileIO) -> gzip.GzipFile | io.BufferedReader:
    packed = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    return gzip.GzipFile(fileobj=raw) if packed else io.BufferedReader(raw)


def _refuse_bomb(path: Path, *, piece: bytes, total: int, packed: int) -> None:
    """A small file must not keep the machine busy: so many bytes of so little content are no
    table.
    """
    if total > FREE and total > RATIO * packed:
        raise DataError(
            f"{path}: its first {packed:,} packed bytes hold {total:,} bytes of text, more than a"
            " table of numbers does; unpack it with gunzip if it is one"
        )
    if len(piece) >= LINES and piece.isspace():
        raise DataError(
            f"{path}: holds {len(piece):,} blanks and line ends on end; is this a table?"
        )


def _unix(piece: bytes) -> bytes:
    return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in piece else piece
