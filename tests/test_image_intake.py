"""Images keep the levels that their files hold, or are refused by name; what does not stay as it
is, is counted.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from diffeo.core.errors import ConfigError, DataError
from diffeo.data import read_images


def deep(folder: Path, top: int, count: int = 3) -> Path:
    """16-bit grey PNGs with values 0 .. top."""
    folder.mkdir()
    for k in range(count):
        values = np.random.default_rng(k).integers(0, top + 1, (8, 8))
        values[0, 0] = top
        Image.fromarray(values.astype(np.uint16)).save(folder / f"{k}.png")
    return folder


def png16(path: Path, pixels: np.ndarray) -> Path:
    """A PNG of 16 bits a channel (H, W, C), which Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width, channels = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.mark.parametrize(
    ("top", "bits"), [(255, 8), (200, 8), (1023, 10), (4095, 12), (3000, 12), (32767, 15)]
)
def test_16_bit_files_of_few_bits_are_refused_until_told(
    top: int, bits: int, tmp_path: Path
) -> None:
    folder = deep(tmp_path / "f", top)
    for source, count in ((folder, 3), (folder / "0.png", 1)):
        with pytest.raises(
            DataError, match=rf"{count} files of 16 bits hold no value above {top:,}.*depth={bits}"
        ):
            read_images(source)
        images = read_images(source, depth=bits)
        stored = np.asarray(Image.open(folder / "0.png")).astype(int)
        np.testing.assert_array_equal(images.pixels[0, 0], stored >> (bits - 8))
        assert f"{count} × 16 bits, of which {bits} hold values" in "\n".join(images.notes)
    np.testing.assert_array_equal(read_images(folder / "0.png", depth=16).pixels[0, 0], stored >> 8)


def test_16_bit_files_that_need_all_bits_keep_the_upper_8(tmp_path: Path) -> None:
    images = read_images(deep(tmp_path / "f", 65535))
    assert int(images.pixels.max()) == 255
    assert images.notes == ("3 × 16 bits, of which 16 hold values: the upper 8 of these are kept",)


def test_mixed_depths_and_a_value_too_large(tmp_path: Path) -> None:
    folder = deep(tmp_path / "f", 4095)
    Image.fromarray(np.full((8, 8), 200, np.uint8)).save(folder / "z.png")
    with pytest.raises(DataError, match="3 files of 16 bits"):
        read_images(folder)
    assert int(read_images(folder, depth=12).pixels[3].min()) == 200
    with pytest.raises(DataError, match=r"4,095, which needs more than depth=10 bits; give 12"):
        read_images(folder, depth=10)
    for wrong in (7, 17, True, 8.0):
        with pytest.raises(ConfigError, match="depth"):
            read_images(folder, depth=wrong)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colours_of_16_bits(channels: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (8, 8, channels))
    if channels in (2, 4):
        pixels[..., -1] = 65535 if channels == 2 else 4095
    pixels[..., 0] = np.minimum(pixels[..., 0], 4095)
    low = png16(tmp_path / "low.png", pixels if channels != 2 else np.minimum(pixels, 4095))
    with pytest.raises(DataError, match="16 bits hold no value above"):
        read_images(low)
    with pytest.raises(DataError, match="colours or transparency of 16 bits"):
        read_images(low, depth=12)
    full = pixels * 16
    full[..., -1] = 65535
    full[0, 0] = 65535
    read = read_images(png16(tmp_path / "full.png", np.minimum(full, 65535))).pixels
    np.testing.assert_array_equal(read[0, 0], np.minimum(full, 65535)[..., 0] >> 8)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def grey(value: int = 9) -> Image.Image:
    return Image.new("L", (6, 4), value)


def flipped(path: Path) -> Path:
    """A PNG with one bit of its stored pixels turned."""
    noise = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    content = bytearray(saved(path, Image.fromarray(noise), compress_level=0).read_bytes())
    content[120] ^= 1
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            lambda p: saved(p / "a.png", grey(), save_all=True, append_images=[grey(99)]),
            "an animation of 2 pictures",
        ),
        (lambda p: saved(p / "a.png", grey(), format="GIF"), "no PNG or JPEG"),
        (lambda p: saved(p / "a.png", Image.new("F", (4, 4)), format="TIFF"), "no PNG or JPEG"),
        (lambda p: flipped(p / "a.png"), "damaged"),
    ],
)
def test_other_files_are_refused(build: Callable[[Path], Path], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        read_images(build(tmp_path))
    with pytest.raises(DataError, match=words):
        read_images(tmp_path)


def test_what_does_not_stay_is_counted(tmp_path: Path) -> None:
    for k in range(2):
        saved(tmp_path / f"{k}.png", Image.new("RGBA", (4, 4), (9, 9, 9, 100)))
    saved(tmp_path / "c.jpg", Image.new("CMYK", (4, 4)))
    saved(tmp_path / "d.tif", Image.new("L", (4, 4)))
    (tmp_path / "notes.txt").write_text("hello")
    notes = "\n".join(read_images(tmp_path).notes)
    for words in (
        "2 × another kind of file, not read: 'd.tif', 'notes.txt'",
        "2 × transparency",
        "1 × CMYK",
    ):
        assert words in notes


IMAGES = np.zeros((2, 4, 5), np.uint8)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((2, 4, 5), 0.5), r"0.5..0.5: convert with \(x \* 255\)"),
        (np.full((2, 4, 5), 200.0), r"200..200: convert with x.round\(\)"),
        (np.full((2, 4, 5), 200, np.uint16), r"convert with x.astype"),
        (np.full((2, 4, 5), 4000, np.uint16), r"4000..4000: scale them"),
        (np.full((2, 4, 5), -1.0), r"-1..-1: scale them"),
        (np.ones((2, 4, 5), bool), "type bool"),
        (np.ones((2, 4, 5), complex), "complex128"),
        (np.ma.masked_array(IMAGES, mask=IMAGES == 0), "40 masked pixels"),
        (torch.zeros(2, 4, 5).bfloat16(), "bfloat16"),
        (torch.zeros(2, 4, 5).to_sparse(), "dense"),
    ],
)
def test_arrays_of_other_types_are_refused_with_the_right_hint(array: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_images(array)


def test_a_mask_without_masked_pixels_changes_nothing() -> None:
    assert read_images(np.ma.masked_array(IMAGES)).pixels.shape == (2, 1, 4, 5)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([1, "a"], "1 of 2 labels are no text, such as 1"),
        ([1.0, 2.0], "type float64"),
        ([None, "a"], "1 of 2 labels are no text"),
        (np.ma.masked_array([1, 2], mask=[False, True]), "1 masked labels"),
    ],
)
def test_labels_that_are_no_labels(labels: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_images(IMAGES, labels=labels)


def test_labels_of_objects_and_negative_ones() -> None:
    assert read_images(IMAGES, labels=np.array(["b", "a"], dtype=object)).classes == ("a", "b")
    assert read_images(IMAGES, labels=[-1, 3]).classes == ("-1", "3")


@pytest.mark.parametrize(
    ("text", "words"),
    [("file,label,label\na.png,1,2\n", "duplicate"), ("file,label\na.png,1,2\n", "line 2")],
)
def test_tables_of_labels_with_too_much(text: str, words: str, tmp_path: Path) -> None:
    saved(tmp_path / "a.png", grey())
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        read_images(tmp_path, labels=tmp_path / "l.csv")
