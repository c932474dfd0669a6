"""Mutated NumPy, image and IDX files: the right array or one worded line, in bounded time and
memory.
"""

from __future__ import annotations

import gzip
import io
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffeo.core.errors import DataError, DiffeoError
from diffeo.data import read_images, read_table

ROWS = np.random.default_rng(0).normal(size=(12, 3))
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 8, 6), dtype=np.uint8)
SECONDS, MEGABYTES = 2.0, 300
WORDS = [
    b"-1",
    b"0",
    b"999999999",
    b"9" * 40,
    b"True",
    b"'|O'",
    b"'<f8'",
    b"'<U0'",
    b"(",
    b"[",
    b"'",
    b"{",
    b",",
    b"1e9",
    b"\xff",
]


def mutated(content: bytes, rng: np.random.Generator, head: int) -> bytes:
    """A few changes, mostly in the first `head` bytes: flipped bits, other bytes, pieces cut,
    doubled or put in.
    """
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        end = min(head, len(data)) if rng.random() < 0.7 else len(data)
        at, way = int(rng.integers(end + 1)), rng.integers(6)
        if way == 0 and at < len(data):
            data[at] ^= 1 << int(rng.integers(8))
        elif way == 1 and at < len(data):
            data[at] = int(rng.integers(256))
        elif way == 2:
            del data[at : at + int(rng.integers(1, 20))]
        elif way == 3:
            data[at:at] = data[at : at + int(rng.integers(1, 20))]
        elif way == 4:
            word = WORDS[rng.integers(len(WORDS))]
            data[at : at + int(rng.integers(len(word) + 1))] = word
        else:
            del data[at:]
    return bytes(data)


def saved(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def within_limits(read: Callable[[], np.ndarray]) -> np.ndarray | None:
    """What was read, or None for one worded line."""
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        return read()
    except DiffeoError as error:
        said = str(error)
    finally:
        assert time.process_time() - start < SECONDS
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES * 1024
    assert "\n" not in said
    assert len(said) < 1000
    return None


def numpy_reads(path: Path) -> np.ndarray | None:
    """What NumPy itself makes of a file, as rows of float64."""
    try:
        found = np.load(path, allow_pickle=False)
        array = (
            found
            if isinstance(found, np.ndarray)
            else found[next(k for k in found.files if k != "columns")]
        )
    except Exception:
        return None
    array = np.stack([array[n] for n in array.dtype.names], 1) if array.dtype.names else array
    return array[:, None] if array.ndim == 1 else array


NPY: dict[str, bytes] = {
    "npy": saved(lambda f: np.save(f, ROWS)),
    "int16.npy": saved(lambda f: np.save(f, (100 * ROWS).astype(np.int16))),
    "fortran.npy": saved(lambda f: np.save(f, np.asfortranarray(ROWS))),
    "records.npy": saved(
        lambda f: np.save(f, np.array([tuple(r) for r in ROWS], [(n, "<f8") for n in "abc"]))
    ),
    "npz": saved(lambda f: np.savez(f, x=ROWS)),
    "packed.npz": saved(lambda f: np.savez_compressed(f, x=ROWS, columns=np.array(list("abc")))),
}


@pytest.mark.parametrize("name", NPY)
def test_tables_in_numpy_files(name: str, tmp_path: Path, count: Callable[[int, int], int]) -> None:
    path = tmp_path / f"t.{name.split('.')[-1]}"
    for seed in range(count(150, 3000)):
        path.write_bytes(mutated(NPY[name], np.random.default_rng(seed), 140))
        table = within_limits(lambda: read_table(path, max_bad=1.0))
        if table is None:
            continue
        expected = numpy_reads(path)
        assert expected is not None, seed
        kept = [str(n) for n in table.schema.names]
        whole = np.asarray(expected, float)
        whole = whole[np.isfinite(whole).all(1)]
        aside = table.schema.set_aside
        assert table.values.shape == (len(whole), whole.shape[1] - len(aside)), (seed, kept)
        varying = [j for j in range(whole.shape[1]) if len(whole) < 2 or np.ptp(whole[:, j]) > 0]
        np.testing.assert_array_equal(table.values, whole[:, varying], err_msg=str(seed))


IMAGES: dict[str, tuple[bytes, int]] = {
    "a.npy": (saved(lambda f: np.save(f, PIXELS)), 140),
    "a.npz": (saved(lambda f: np.savez(f, images=PIXELS, labels=np.arange(4))), 200),
    "a.png": (saved(lambda f: Image.fromarray(PIXELS[0]).save(f, "PNG")), 60),
    "rgb.png": (saved(lambda f: Image.fromarray(np.stack([PIXELS[0]] * 3, 2)).save(f, "PNG")), 60),
    "deep.png": (
        saved(lambda f: Image.fromarray(PIXELS[0].astype(np.uint16) * 257).save(f, "PNG")),
        60,
    ),
    "a.jpg": (saved(lambda f: Image.fromarray(PIXELS[0]).save(f, "JPEG")), 200),
    "a-idx3": (struct.pack(">4I", 0x803, 4, 8, 6) + PIXELS.tobytes(), 16),
    "a-idx3.gz": (
        gzip.compress(struct.pack(">4I", 0x803, 4, 8, 6) + PIXELS.tobytes(), mtime=0),
        30,
    ),
}


def expected_pixels(path: Path, found: np.ndarray) -> np.ndarray | None:
    """What a sound reader makes of the mutated file; None where there is no other reader."""
    if path.suffix in (".npy", ".npz"):
        loaded = np.load(path, allow_pickle=False)
        array = (
            loaded
            if isinstance(loaded, np.ndarray)
            else loaded[next(k for k in loaded.files if loaded[k].ndim in (3, 4))]
        )
        return (
            array[:, None]
            if array.ndim == 3
            else array.transpose(0, 3, 1, 2)
            if array.shape[3] in (1, 3)
            else array
        )
    if path.suffix == ".png":  # its sums hold: the pixels are those that were written
        return np.broadcast_to(PIXELS[0], found.shape)
    if path.suffix == ".jpg":
        return None
    content = path.read_bytes()
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    axes = content[3]
    shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
    array = np.frombuffer(content[4 + 4 * axes :], np.uint8).reshape(shape)
    return (
        array[:, None]
        if axes == 3
        else array.transpose(0, 3, 1, 2)
        if shape[3] in (1, 3)
        else array
    )


@pytest.mark.parametrize("name", IMAGES)
def test_images(name: str, tmp_path: Path, count: Callable[[int, int], int]) -> None:
    content, head = IMAGES[name]
    path = tmp_path / name
    for seed in range(count(150, 3000)):
        path.write_bytes(mutated(content, np.random.default_rng(seed), head))
        images = within_limits(lambda: read_images(path))
        if images is None:
            continue
        assert images.pixels.dtype == np.uint8
        expected = expected_pixels(path, images.pixels)
        if expected is not None:
            np.testing.assert_array_equal(images.pixels, expected, err_msg=str(seed))


def test_the_seeds_reach_both_outcomes(tmp_path: Path) -> None:
    path, refused = tmp_path / "t.npy", 0
    for seed in range(60):
        path.write_bytes(mutated(NPY["npy"], np.random.default_rng(seed), 140))
        try:
            read_table(path, max_bad=1.0)
        except DataError:
            refused += 1
    assert 0 < refused < 60
