"""Images: every source gives the same pixels and labels, nothing is scaled wrongly, and bad input
gets one worded line.
"""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from diffeo.core.errors import ConfigError, DataError
from diffeo.data import Images, read_images, write_images
from diffeo.data.images import cache as image_cache
from diffeo.data.images import pictures as pictures_module
from diffeo.data.images.images import grid, looks_like_images

FASHION = Path("/usr/share/datasets/fashion-mnist")


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def picture(path: Path, array: np.ndarray | Image.Image, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(path, **options)
    return path


def folder_of(folder: Path, arrays: np.ndarray, name: str = "{}.png") -> Path:
    for k, array in enumerate(arrays):
        picture(folder / name.format(k), array)
    return folder


def idx(array: np.ndarray, code: int = 8) -> bytes:
    return (
        bytes([0, 0, code, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


def save(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


# --- bad input: what, where, and how to mend, in one line -----------------------------------------


def truncated(path: Path, **options: Any) -> Path:
    picture(path, noise(64, 64, 3), **options)
    return save(path, path.read_bytes()[:-1500])


def two_sizes(folder: Path) -> Path:
    picture(folder / "a.png", noise(8, 6))
    picture(folder / "b.png", noise(10, 12))
    return folder


def with_table(folder: Path, text: str | bytes) -> tuple[Path, dict[str, Any]]:
    folder_of(folder / "f", noise(2, 4, 4))
    return folder / "f", {
        "labels": save(folder / "t.csv", text.encode() if isinstance(text, str) else text)
    }


def labelled(folder: Path, content: bytes) -> tuple[Path, dict[str, Any]]:
    save(folder / "a-labels-idx1", content)
    return save(folder / "a-images-idx3", idx(noise(2, 4, 4))), {}


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def npy(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        picture(folder / name, noise(4, 4)) if name.endswith("png") else save(folder / name, b"x")
    return folder


BAD: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "no such path": (lambda t: t / "none", ["none", "no such file or folder"]),
    "empty folder": (lambda t: t, ["folder is empty", ".png"]),
    "folder without images": (
        lambda t: touched(t, "a.txt", "b.csv"),
        ["no image", "'a.txt', 'b.csv'"],
    ),
    "only hidden images": (lambda t: touched(t, ".a.png"), ["folder is empty"]),
    "mixed folder": (
        lambda t: touched(t, "a.png", "cat/b.png"),
        ["'a.png'", "'cat/b.png'", "class folders", "CSV"],
    ),
    "mixed sizes": (two_sizes, ["a.png is 8x6", "b.png is 10x12", "resize=(8, 6)"]),
    "empty file": (lambda t: save(t / "a.png", b""), ["a.png", "empty"]),
    "text named png": (
        lambda t: save(t / "a.png", b"hello, I am no image"),
        ["a.png", "no PNG or JPEG"],
    ),
    "truncated png": (lambda t: truncated(t / "a.png"), ["a.png", "damaged or cut short"]),
    "truncated jpeg": (
        lambda t: truncated(t / "a.jpg", quality=95),
        ["a.jpg", "damaged or cut short"],
    ),
    "truncated in a folder": (
        lambda t: truncated(t / "b.png").parent,
        ["b.png", "damaged or cut short"],
    ),
    "a bomb": (
        lambda t: save(t / "a.png", png_claiming(12_000, 11_000)),
        ["12000 × 11000", "100 megapixels"],
    ),
    "a huge bomb": (
        lambda t: save(t / "a.png", png_claiming(2**30, 2**30)),
        ["a.png", "100 megapixels"],
    ),
    "unknown kind": (
        lambda t: save(t / "a.bmp", b"BM...."),
        ["a.bmp", "no images in a known format"],
    ),
    "dead link": (lambda t: os.symlink("gone", t / "a.png") or t, ["a.png", "No such file"]),
    "table without columns": (
        lambda t: with_table(t, "name,class\n0.png,a\n"),
        ["t.csv", "file,label", "'name'"],
    ),
    "table of another folder": (
        lambda t: with_table(t, "file,label\n7.png,a\n"),
        ["t.csv", "line 2", "'7.png'"],
    ),
    "table that is short": (
        lambda t: with_table(t, "file,label\n0.png,a\n"),
        ["t.csv", "1 images", "'1.png'"],
    ),
    "table with a doublet": (
        lambda t: with_table(t, "file,label\n0.png,a\n0.png,b\n"),
        ["line 3", "second time"],
    ),
    "table with a gap": (
        lambda t: with_table(t, "file,label\n0.png,\n1.png,a\n"),
        ["line 2", "lacks"],
    ),
    "table that is binary": (lambda t: with_table(t, b"file,label\n\xff\xfe"), ["t.csv", "UTF-8"]),
    "table that is missing": (
        lambda t: (touched(t, "a.png"), {"labels": "no.csv"}),
        ["no.csv", "No such file"],
    ),
    "labels for another number": (
        lambda t: (touched(t, "a.png"), {"labels": [1, 2]}),
        ["2 labels for 1 images"],
    ),
    "labels of floats": (
        lambda t: (noise(2, 4, 4), {"labels": [0.5, 1.0]}),
        ["labels of type float64"],
    ),
    "labels as a table": (
        lambda t: (noise(2, 4, 4), {"labels": np.zeros((2, 1), int)}),
        ["labels of shape (2, 1)"],
    ),
    "labels from nowhere": (
        lambda t: (noise(2, 4, 4), {"labels": t / "l.npy"}),
        ["l.npy", "no such file"],
    ),
    "unknown class": (
        lambda t: (noise(2, 4, 4), {"labels": ["a", "x"], "classes": ("a", "b")}),
        ["'x'", "'a', 'b'"],
    ),
    "floats": (lambda t: np.zeros((2, 4, 4)), ["float64, not uint8", "0..0", "(x * 255).round()"]),
    "float tensor": (lambda t: torch.zeros(2, 1, 4, 4), ["tensor", "float32, not uint8"]),
    "integers": (
        lambda t: npy(t / "a.npy", np.zeros((2, 4, 4), int)),
        ["a.npy", "int64, not uint8", "astype"],
    ),
    "one-dimensional": (lambda t: np.zeros(9, np.uint8), ["(9,)", "no images"]),
    "one image without its axis": (lambda t: np.zeros((9, 9), np.uint8), ["(9, 9)", "array[None]"]),
    "five axes": (lambda t: np.zeros((1, 1, 1, 4, 4), np.uint8), ["no images"]),
    "no images": (
        lambda t: npy(t / "a.npy", np.zeros((0, 4, 4), np.uint8)),
        ["a.npy", "holds no images"],
    ),
    "images of nothing": (lambda t: np.zeros((3, 0, 4), np.uint8), ["size zero"]),
    "alpha": (lambda t: np.zeros((3, 8, 8, 4), np.uint8), ["no axis", "alpha", "[..., :3]"]),
    "a list": (lambda t: [[1]], ["from a list"]),
    "damaged npz": (
        lambda t: save(t / "a.npz", b"PK\3\4junk"),
        ["a.npz", "damaged or no NumPy file"],
    ),
    "damaged npy": (
        lambda t: save(t / "a.npy", b"\x93NUMPY\1\0v\0{}"),
        ["a.npy", "damaged or no NumPy file"],
    ),
    "short npy": (
        lambda t: save(npy(t / "a.npy", noise(9, 9, 9)), (t / "a.npy").read_bytes()[:300]),
        ["a.npy", "damaged"],
    ),
    "pickled npy": (lambda t: npy(t / "a.npy", np.array([[[None]]])), ["a.npy", "pickles"]),
    "npz with a choice": (
        lambda t: npz(t / "a.npz", a=noise(2, 4, 4), b=noise(2, 4, 4)),
        ["a (2, 4, 4)", "'images'"],
    ),
    "npz without": (lambda t: npz(t / "a.npz", a=noise(2, 4)), ["a.npz", "a (2, 4)", "'images'"]),
    "npz of odd bits": (
        lambda t: npz(t / "a.npz", images=noise(2, 4, 4), bits=9),
        ["a.npz", "'bits'"],
    ),
    "npz of false bits": (
        lambda t: npz(t / "a.npz", images=noise(2, 9, 9), bits=5),
        ["a.npz", "5-bit", "value 2"],
    ),
    "idx magic": (lambda t: save(t / "a-idx3", b"\1\2\3\4" * 9), ["a-idx3", "01020304"]),
    "idx labels as images": (lambda t: save(t / "a-idx1", idx(noise(9))), ["a-idx1", "labels"]),
    "idx of floats": (
        lambda t: save(t / "a-idx3", idx(noise(1, 2, 2), 0x0D)),
        ["no IDX file of whole numbers"],
    ),
    "idx of integers": (
        lambda t: save(t / "a-idx3", idx(np.zeros((1, 2, 2), ">i4"), 0x0C)),
        ["not uint8"],
    ),
    "idx cut in its header": (
        lambda t: save(t / "a-idx3", idx(noise(2, 4, 4))[:9]),
        ["cut short within its header"],
    ),
    "idx cut short": (
        lambda t: save(t / "a-idx3", idx(noise(2, 4, 4))[:-1]),
        ["32 bytes", "room for 31"],
    ),
    "idx too long": (
        lambda t: save(t / "a-idx3", idx(noise(2, 4, 4)) + b"x"),
        ["goes on after the 32 bytes"],
    ),
    "idx of absurd size": (
        lambda t: save(t / "a-idx3", b"\0\0\x08\3" + b"\xff" * 12),
        ["header says", "room for 0"],
    ),
    "idx.gz cut short": (
        lambda t: save(t / "a.gz", gzip.compress(idx(noise(2, 4, 4)))[:-12]),
        ["a.gz", "cut short"],
    ),
    "idx.gz short of data": (
        lambda t: save(t / "a.gz", gzip.compress(idx(noise(2, 4, 4))[:-1])),
        ["31 of 32 bytes"],
    ),
    "idx.gz too long": (
        lambda t: save(t / "a.gz", gzip.compress(idx(noise(2, 4, 4)) + b"x")),
        ["goes on after"],
    ),
    "idx.gz of absurd size": (
        lambda t: save(t / "a.gz", gzip.compress(b"\0\0\x08\3" + b"\xff" * 12)),
        ["header says 79,228,162,458,924,105,385,300,197,375"],
    ),
    "idx.gz, bad checksum": (
        lambda t: save(
            t / "a.gz", gzip.compress(idx(noise(2, 4, 4)))[:-8] + b"\0" * 4 + struct.pack("<I", 48)
        ),
        ["a.gz", "CRC"],
    ),
    "idx with bad labels": (
        lambda t: labelled(t, b"\0\0\x08\1\0\0\0\7"),
        ["a-labels-idx1", "7 bytes"],
    ),
    "idx with few labels": (
        lambda t: labelled(t, idx(noise(1))),
        ["a-images-idx3", "1 labels for 2 images"],
    ),
    "other sklearn data": (lambda t: "sklearn:iris", ["sklearn:iris", "sklearn:digits"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_worded(case: str, tmp_path: Path) -> None:
    build, words = BAD[case]
    built = build(tmp_path)
    source, options = built if isinstance(built, tuple) else (built, {})
    with pytest.raises(DataError) as caught:
        read_images(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    for word in words:
        assert word in message, message


@pytest.mark.parametrize(
    "options",
    [
        {"bits": 0},
        {"bits": 9},
        {"bits": 5.0},
        {"resize": 0},
        {"resize": (4,)},
        {"resize": "8x8"},
        {"colour": "red"},
    ],
)
def test_bad_options_are_worded(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        read_images(noise(2, 4, 4), **options)


def test_a_lying_gzip_header_is_not_unpacked_without_limit(tmp_path: Path) -> None:
    """50 MB behind a header of 48 bytes: reading stops after one byte too many."""
    path = save(tmp_path / "a-idx3.gz", gzip.compress(idx(noise(3, 4, 4)) + bytes(50_000_000)))
    code = (
        "import resource, sys; from diffeo.data import read_images\nbefore ="
        " resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\ntry: read_images(sys.argv[1])\nexcept"
        " ValueError as e: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    grown, words = done.stdout.split(" ", 1)
    assert "goes on after" in words
    assert int(grown) < 20_000


# --- the same images in many dresses --------------------------------------------------------------


def dresses(folder: Path, grey: np.ndarray) -> dict[str, Any]:
    folder_of(folder / "png", grey)
    np.savez(folder / "one.npz", whatever=grey, labels=np.arange(len(grey)))
    return {
        "folder": folder / "png",
        "npy": npy(folder / "a.npy", grey),
        "npy of Fortran": npy(folder / "f.npy", np.asfortranarray(grey)),
        "npy with channels last": npy(folder / "c.npy", grey[..., None]),
        "npz": npz(folder / "a.npz", images=grey, other=np.zeros((2, 2, 2))),
        "npz, only array": folder / "one.npz",
        "idx": save(folder / "a-idx3", idx(grey)),
        "idx.gz": save(folder / "a-idx3.gz", gzip.compress(idx(grey))),
        "idx of any name": save(folder / "whatever", idx(grey)),
        "array": grey,
        "array, channels first": grey[:, None],
        "tensor": torch.from_numpy(grey),
        "Images": read_images(grey),
    }


def test_every_source_gives_the_same_images(tmp_path: Path) -> None:
    grey = noise(5, 6, 7)
    for name, source in dresses(tmp_path, grey).items():
        for given in [source, str(source)] if isinstance(source, Path) else [source]:
            images = read_images(given)
            assert images.pixels.dtype == np.uint8, name
            np.testing.assert_array_equal(images.pixels, grey[:, None], err_msg=name)
            assert (len(images), images.event_shape, images.bits) == (5, (1, 6, 7), 8), name
            assert (images.labels is not None) == (name == "npz, only array"), name
            assert images.names == (
                tuple(f"{k}.png" for k in range(5)) if name == "folder" else ()
            ), name
            assert looks_like_images(given), name


def test_channels_are_found() -> None:
    last, first = noise(2, 5, 4, 3), noise(2, 3, 5, 4)
    np.testing.assert_array_equal(read_images(last).pixels, last.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(read_images(first).pixels, first)
    # both would do: channels last wins
    assert read_images(noise(2, 3, 5, 3)).event_shape == (3, 3, 5)
    assert read_images(noise(2, 1, 5, 1)).event_shape == (1, 1, 5)
    assert read_images(noise(1, 4, 4)).pixels.shape == (1, 1, 4, 4)


def test_a_batch_of_one_stays_a_batch(tmp_path: Path) -> None:
    one = read_images(picture(tmp_path / "a.png", noise(4, 6)))
    assert (one.pixels.shape, one.labels, one.classes, one.names) == ((1, 1, 4, 6), None, (), ())
    digits = read_images("sklearn:digits")
    for index in (3, [3], slice(3, 4), np.arange(1797) == 3, torch.tensor([3])):
        part = digits.subset(index)
        assert part.pixels.shape == (1, 1, 8, 8)
        assert part.labels is not None
        assert part.labels.tolist() == [3]
    assert len(digits.subset([])) == 0


def test_subset_keeps_names_and_labels_together(tmp_path: Path) -> None:
    for name in ("b/2.png", "a/1.png", "b/deep/3.png"):
        picture(tmp_path / name, np.full((2, 2), int(name[-5]), np.uint8))
    images = read_images(tmp_path)
    assert (images.names, images.classes) == (("a/1.png", "b/2.png", "b/deep/3.png"), ("a", "b"))
    part = images.subset([2, 0])
    assert (part.names, part.pixels[:, 0, 0, 0].tolist()) == (("b/deep/3.png", "a/1.png"), [3, 1])
    assert part.labels is not None
    assert part.labels.tolist() == [1, 0]
    assert isinstance(images.subset(slice(1, 3)).pixels, np.memmap)


def test_images_refuse_what_is_no_batch() -> None:
    with pytest.raises(DataError, match=r"\(4, 4\)"):
        Images(noise(4, 4), None, (), 8, "x", ())
    with pytest.raises(DataError, match="labels of shape"):
        Images(noise(2, 1, 4, 4), np.zeros(3, np.int64), ("a",), 8, "x", ())


@pytest.mark.skipif(
    not FASHION.exists(), reason="the package dataset-fashion-mnist is not installed"
)
@pytest.mark.parametrize(("part", "count"), [("train", 60_000), ("t10k", 10_000)])
def test_fashion_mnist_reads_whole(part: str, count: int) -> None:
    images = read_images(FASHION / f"{part}-images-idx3-ubyte.gz")
    assert (len(images), images.event_shape, images.classes) == (
        count,
        (1, 28, 28),
        tuple("0123456789"),
    )
    assert images.labels is not None
    assert np.bincount(images.labels).tolist() == [count // 10] * 10
    raw = gzip.decompress((FASHION / f"{part}-images-idx3-ubyte.gz").read_bytes())
    assert images.pixels.tobytes() == raw[16:]


# --- bits -----------------------------------------------------------------------------------------


def test_bits_are_reduced_by_a_shift_or_refused(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    for name, source in dresses(tmp_path, ramp).items():
        reduced = read_images(source, bits=5)
        np.testing.assert_array_equal(reduced.pixels, ramp[:, None] >> 3, err_msg=name)
        assert (reduced.bits, reduced.pixels.max()) == (5, 31)
    assert read_images(picture(tmp_path / "one.png", ramp[0]), bits=1).pixels.max() == 1


def test_pixels_that_may_be_reduced_already_are_refused(tmp_path: Path) -> None:
    low = noise(3, 8, 8) >> 3
    for source in (
        low,
        npy(tmp_path / "a.npy", low),
        npz(tmp_path / "a.npz", images=low),
        torch.from_numpy(low),
    ):
        with pytest.raises(DataError, match="may have 5 bits already"):
            read_images(source, bits=5)
    declared = [
        npz(tmp_path / "b.npz", images=low, bits=5),
        Images(low[:, None], None, (), 5, "x", ()),
    ]
    for source in declared:
        for bits in (None, 5):
            images = read_images(source, bits=bits)
            np.testing.assert_array_equal(images.pixels, low[:, None])
            assert images.bits == 5
        np.testing.assert_array_equal(read_images(source, bits=3).pixels, low[:, None] >> 2)
        with pytest.raises(ConfigError, match="bits=8 asked of 5-bit pixels"):
            read_images(source, bits=8)
    dark = read_images(folder_of(tmp_path / "dark", low), bits=5)  # a PNG has 8 bits, however dark
    np.testing.assert_array_equal(dark.pixels, low[:, None] >> 3)
    with pytest.raises(DataError, match="declares 5-bit pixels but holds the value"):
        read_images(Images(noise(2, 1, 8, 8), None, (), 5, "x", ()), bits=5, resize=4)


def test_digits() -> None:
    for bits in (None, 5):
        digits = read_images("sklearn:digits", bits=bits)
        assert (digits.pixels.shape, digits.bits, digits.pixels.max()) == ((1797, 1, 8, 8), 5, 16)
        assert digits.classes == tuple("0123456789")
    assert read_images("sklearn:digits", bits=4).pixels.max() == 8
    edges = np.kron(np.eye(4, dtype=np.uint8), np.full((4, 4), 31, np.uint8))[None, None]
    # Lanczos overshoots
    assert read_images(Images(edges, None, (), 5, "x", ()), resize=40).pixels.max() == 31


# --- labels ---------------------------------------------------------------------------------------


def test_labels_beside_an_idx_file(tmp_path: Path) -> None:
    labels = np.array([3, 5, 3], np.uint8)
    for images, names in {
        "train-images-idx3-ubyte": "train-labels-idx1-ubyte",
        "x-images.idx3.gz": "x-labels.idx1",
        "images-of-mine": "labels-of-mine.gz",
    }.items():
        content = gzip.compress(idx(labels)) if names.endswith(".gz") else idx(labels)
        save(tmp_path / names, content)
        read = read_images(save(tmp_path / images, idx(noise(3, 4, 4))))
        assert read.labels is not None
        assert (read.labels.tolist(), read.labels.dtype, read.classes) == (
            [0, 1, 0],
            np.int64,
            ("3", "5"),
        )
    other = save(tmp_path / "other", idx(np.array([7, 7, 1000], ">i4"), 0x0C))
    assert read_images(tmp_path / "images-of-mine", labels=other).classes == ("7", "1000")


@pytest.mark.parametrize(
    "given", [[7, 10, 7], np.array([7, 10, 7]), torch.tensor([7, 10, 7]), ["7", "10", "7"]]
)
def test_labels_from_the_caller(given: Any, tmp_path: Path) -> None:
    for source in (
        noise(3, 4, 4),
        read_images(noise(3, 4, 4), labels=list("abc")),
        folder_of(tmp_path, noise(3, 4, 4)),
    ):
        images = read_images(source, labels=given)
        assert images.labels is not None
        assert [images.classes[k] for k in images.labels] == ["7", "10", "7"]
        assert images.classes == (
            ("10", "7") if isinstance(given, list) and given[0] == "7" else ("7", "10")
        )


def test_labels_of_the_caller_go_before_those_of_the_digits() -> None:
    images = read_images(
        "sklearn:digits", labels=["even" if k % 2 == 0 else "odd" for k in range(1797)]
    )
    assert images.classes == ("even", "odd")
    assert images.labels is not None
    assert images.labels[:4].tolist() == [0, 1, 0, 1]


def test_labels_of_a_csv_file(tmp_path: Path) -> None:
    for k, name in enumerate(("top.png", "x/a.png", "y/b.png")):
        picture(tmp_path / "f" / name, np.full((2, 2), k, np.uint8))
    table = save(
        tmp_path / "t.csv",
        "\ufeffid,label,file\n1,dog,y/b.png\n2,cat,./top.png\n3,dog,x/a.png\n".encode(),
    )
    images = read_images(tmp_path / "f", labels=table)
    assert images.labels is not None
    assert (images.classes, images.labels.tolist()) == (("cat", "dog"), [0, 1, 1])
    one = read_images(
        tmp_path / "f" / "top.png", labels=save(tmp_path / "o.csv", b"file,label\ntop.png,cat\n")
    )
    assert one.classes == ("cat",)


def test_classes_of_another_set_are_matched_by_name(tmp_path: Path) -> None:
    classes = ("ant", "bee", "cat")
    for name in ("cat/1.png", "bee/2.png"):
        picture(tmp_path / name, noise(2, 2))
    stored = npz(tmp_path / "a.npz", images=noise(2, 2, 2), labels=[0, 1], classes=["bee", "cat"])
    for source in (tmp_path, read_images(tmp_path), stored, read_images(stored)):
        images = read_images(source, classes=classes)
        assert images.labels is not None
        assert (images.classes, images.labels.tolist()) == (classes, [1, 2])
        with pytest.raises(DataError, match="'cat' is none of the classes"):
            read_images(source, classes=("ant", "bee"))
    assert read_images(noise(2, 2, 2), classes=classes).classes == ()
    few = read_images(stored, classes=classes).subset([1])
    # only labels that occur must be known
    assert read_images(few, classes=("cat", "dog")).classes == ("cat", "dog")


# --- one file: colours, depths, orientations ------------------------------------------------------


def test_alpha_is_laid_on_white(tmp_path: Path) -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (255, 0, 0, 255)
    rgba[0, 1] = (255, 0, 0, 0)
    rgba[1] = (0, 0, 0, 128)
    pixels = read_images(picture(tmp_path / "a.png", rgba)).pixels[0]
    assert pixels[:, 0, 0].tolist() == [255, 0, 0]
    assert pixels[:, 0, 1].tolist() == [255, 255, 255]
    assert pixels[:, 1, 1].tolist() == [127, 127, 127]
    grey = read_images(picture(tmp_path / "b.png", rgba[..., [1, 3]])).pixels
    assert (grey.shape, grey[0, 0].tolist()) == ((1, 1, 2, 2), [[0, 255], [127, 127]])
    key = Image.fromarray(np.array([[10, 20]], np.uint8))
    assert read_images(
        picture(tmp_path / "c.png", key, transparency=20)
    ).pixels.ravel().tolist() == [10, 255]


def test_palettes_depths_and_grey(tmp_path: Path) -> None:
    values = np.array([[0, 255, 256, 65535]], np.uint16)
    deep = picture(tmp_path / "deep.png", Image.fromarray(values))
    assert read_images(deep).pixels.ravel().tolist() == [0, 0, 1, 255]
    assert read_images(deep, colour="rgb").pixels[0, :, 0, 2].tolist() == [1, 1, 1]
    bilevel = picture(
        tmp_path / "bits.png", Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    )
    assert read_images(bilevel).pixels.ravel().tolist() == [0, 255]
    for colours, channels in (([9, 9, 9, 200, 200, 200], 1), ([9, 9, 9, 200, 0, 0], 3)):
        indexed = Image.fromarray(np.array([[0, 1]], np.uint8), "L")
        indexed.putpalette(colours)
        pixels = read_images(picture(tmp_path / f"p{channels}.png", indexed)).pixels
        assert pixels[0, :, 0].T.ravel().tolist() == (colours if channels == 3 else [9, 200])
    cmyk = picture(tmp_path / "c.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)))
    assert abs(read_images(cmyk).pixels[0, :, 4, 4].astype(int) - [255, 0, 0]).max() < 12


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_orientation_is_applied(turn: int, kind: str, tmp_path: Path) -> None:
    """Against Pillow's own transposition, and with 6, what it is for: the left edge as stored is
    shown on top.
    """
    from PIL import ImageOps

    stored = np.zeros((8, 16, 3), np.uint8)
    stored[:, :8, 0], stored[:4, :, 1] = 255, 255
    exif = Image.Exif()
    exif[0x0112] = turn
    path = picture(tmp_path / f"a.{kind}", stored, exif=exif)
    images = read_images(path)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(images.pixels[0], expected.transpose(2, 0, 1))
    assert images.event_shape == ((3, 16, 8) if turn >= 5 else (3, 8, 16))
    if turn == 6:
        assert images.pixels[0, 0, 1].min() > 200
        assert images.pixels[0, 0, -2].max() < 50
    picture(tmp_path / f"b.{kind}", np.zeros(images.pixels.shape[2:], np.uint8))
    assert len(read_images(tmp_path)) == 2  # sizes are compared upright


def test_colour_is_kept_where_there_is_any(tmp_path: Path) -> None:
    grey, rgb = noise(4, 4), noise(4, 4, 3)
    picture(tmp_path / "a.png", grey)
    assert read_images(tmp_path).event_shape == (1, 4, 4)
    picture(tmp_path / "b.png", rgb)
    both = read_images(tmp_path).pixels
    np.testing.assert_array_equal(both, [np.stack([grey] * 3), rgb.transpose(2, 0, 1)])
    luma = np.asarray(Image.fromarray(rgb).convert("L"))
    np.testing.assert_array_equal(read_images(tmp_path, colour="grey").pixels[:, 0], [grey, luma])
    np.testing.assert_array_equal(read_images(rgb[None], colour="grey").pixels[0, 0], luma)
    np.testing.assert_array_equal(
        read_images(grey[None], colour="rgb").pixels[0], np.stack([grey] * 3)
    )


def test_resize_covers_and_crops_about_the_centre(tmp_path: Path) -> None:
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 200
    picture(tmp_path / "a.png", wide)
    picture(tmp_path / "b.png", wide.T)
    images = read_images(tmp_path, resize=5)
    assert images.event_shape == (1, 5, 5)
    assert images.pixels.min() > 180  # the margins are cropped, not squeezed in
    np.testing.assert_array_equal(read_images(wide[None], resize=(5, 5)).pixels, images.pixels[:1])
    checks = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)
    # antialiased
    assert (
        abs(
            read_images(checks[None].astype(np.uint8), resize=(8, 16)).pixels.astype(int) - 127
        ).max()
        < 25
    )
    assert read_images(np.zeros((2, 4, 4, 3), np.uint8), resize=(3, 7)).event_shape == (3, 3, 7)


def test_limits_and_warnings_stay_as_they_were(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(DataError, match="megapixels"):
        read_images(save(tmp_path / "a.png", png_claiming(12_000, 9_000)))
    assert limit == Image.MAX_IMAGE_PIXELS
    assert not recwarn.list


# --- the decoded folder ---------------------------------------------------------------------------


def count_decodes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    seen: list[Path] = []

    def counted(path: Path, colour: str, **options: Any) -> Any:
        seen.append(path)
        return pictures_module.decode(path, colour, **options)

    monkeypatch.setattr(image_cache, "decode", counted)
    return seen


def test_a_folder_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = folder_of(tmp_path / "f", noise(4, 6, 6)), tmp_path / "c" / "deep"
    seen = count_decodes(monkeypatch)
    first = read_images(folder, cache=cache)
    assert len(seen) == 4
    again = read_images(folder, cache=cache)
    assert len(seen) == 4
    assert isinstance(again.pixels, np.memmap)
    assert not again.pixels.flags.writeable
    np.testing.assert_array_equal(first.pixels, again.pixels)
    for options in ({"bits": 5}, {"resize": 3}, {"colour": "rgb"}):
        before = len(seen)
        other = read_images(folder, cache=cache, **options)
        assert len(seen) == before + 4
        np.testing.assert_array_equal(other.pixels, read_images(folder, **options).pixels)
    picture(folder / "2.png", noise(6, 6, seed=9))
    os.utime(folder / "2.png", ns=(1, 1))
    np.testing.assert_array_equal(
        read_images(folder, cache=cache).pixels[2, 0], noise(6, 6, seed=9)
    )
    assert not [p for p in cache.iterdir() if p.name.startswith(".")]


def test_a_damaged_cache_is_made_anew(tmp_path: Path) -> None:
    folder, cache = folder_of(tmp_path / "f", noise(4, 6, 6)), tmp_path / "c"
    read_images(folder, cache=cache)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    for damaged in (
        whole[:-10],
        b"",
        b"junk" * 99,
        npy(tmp_path / "x.npy", noise(3, 1, 6, 6)).read_bytes(),
    ):
        file.write_bytes(damaged)
        np.testing.assert_array_equal(read_images(folder, cache=cache).pixels[:, 0], noise(4, 6, 6))
        assert file.read_bytes() == whole


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = two_sizes(tmp_path / "f"), tmp_path / "c"
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))
    seen = count_decodes(monkeypatch)
    (tmp_path / "t").mkdir()
    for where in (cache, None):
        with pytest.raises(DataError, match="resize="):
            read_images(folder, cache=where)
    assert not seen  # found in the headers
    read_images(folder, resize=4)
    assert not list(cache.iterdir())
    assert not list((tmp_path / "t").iterdir())
    with pytest.raises(DataError, match="name another folder as cache"):
        read_images(folder, resize=4, cache=save(tmp_path / "file", b"x"))


def test_processes_at_once_share_a_cache(tmp_path: Path) -> None:
    folder, cache = folder_of(tmp_path / "f", noise(300, 16, 16)), tmp_path / "c"
    code = (
        "import sys; from diffeo.data import read_images\n"
        "print(int(read_images(sys.argv[1], cache=sys.argv[2]).pixels.sum(dtype='int64')))"
    )
    command = [sys.executable, "-c", code, str(folder), str(cache)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert {run.communicate()[0].strip() for run in runs} == {
        str(int(noise(300, 16, 16).sum(dtype=np.int64)))
    }
    assert len(list(cache.iterdir())) == 1


def test_order_is_sorted_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    touched(
        tmp_path, "b/2.png", "a.d/1.PNG.png", "a/3.png", ".hidden/4.png", "b/.5.png", "__notes.txt"
    )
    os.symlink("..", tmp_path / "a" / "loop")
    os.symlink("../b", tmp_path / "a" / "linked")
    assert read_images(tmp_path).names == ("a/3.png", "a/linked/2.png", "a.d/1.PNG.png", "b/2.png")


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(5, 1, 8, 8), (5, 3, 4, 6), (5, 1, 4, 3), (5, 3, 3, 3), (1, 3, 5, 1)]
)
@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_written_arrays_read_back(shape: tuple[int, ...], suffix: str, tmp_path: Path) -> None:
    path, pixels = tmp_path / f"a{suffix}", noise(*shape)
    write_images(path, torch.from_numpy(pixels), torch.arange(len(pixels)))
    images = read_images(path)
    np.testing.assert_array_equal(images.pixels, pixels)
    if suffix == ".npz":
        assert images.labels is not None
        assert images.labels.tolist() == list(range(len(pixels)))
        with np.load(path) as file:
            assert file.files == ["images", "labels"]
            assert file["images"].ndim == (3 if shape[1] == 1 else 4)
            assert file["images"].dtype == np.uint8


def test_reduced_pixels_read_back_as_they_were(tmp_path: Path) -> None:
    digits = read_images("sklearn:digits")
    write_images(tmp_path / "a.npz", digits.pixels, digits.labels, bits=5)
    for bits in (None, 5):
        images = read_images(tmp_path / "a.npz", bits=bits)
        np.testing.assert_array_equal(images.pixels, digits.pixels)
        assert images.bits == 5
    write_images(tmp_path / "a.npy", digits.pixels, bits=5)
    with pytest.raises(DataError, match="may have 5 bits already"):
        read_images(tmp_path / "a.npy", bits=5)


def test_the_grid_shows_every_tile(tmp_path: Path) -> None:
    pixels = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 8, 8), np.uint8) * 7
    tiles = grid(pixels, columns=3, bits=5)
    assert tiles.shape == (2 + 2 * 66, 2 + 3 * 66, 3)
    assert (tiles[:2] > 200).all()
    assert (tiles[-64:, -64:] > 200).all()  # the sixth place is ground
    for k in range(5):
        top, left = 2 + k // 3 * 66, 2 + k % 3 * 66
        assert (tiles[top : top + 64, left : left + 64] == round(k * 7 * 255 / 31)).all()
        assert (tiles[top + 64, left : left + 64] > 200).all()
    write_images(tmp_path / "a.png", pixels, columns=3, bits=5)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), tiles)
    assert grid(noise(3, 3, 100, 80), pad=0).shape == (200, 160, 3)
    assert grid(np.full((1, 1, 8, 8), 31, np.uint8), bits=5)[2:-2, 2:-2].min() == 255


def test_writing_is_refused_in_words_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, path = noise(2, 1, 4, 4), save(tmp_path / "a.npz", b"old")
    with pytest.raises(DataError, match=r"\.png, \.npz or \.npy"):
        write_images(tmp_path / "a.gif", images)
    for bad in (noise(4), noise(2, 4, 4, 3), images.astype(float), images[:0]):
        with pytest.raises(DataError, match="no images in a"):
            write_images(path, bad)
    with pytest.raises(DataError, match="labels of shape"):
        write_images(path, images, [1, 2, 3])
    with pytest.raises(DataError, match="5-bit"):
        write_images(path, images | 128, bits=5)
    with pytest.raises(DataError, match="take fewer"):
        grid(np.broadcast_to(np.uint8(0), (40_000, 1, 64, 64)))
    for wrong in ({"bits": 9}, {"columns": 0}):
        with pytest.raises(ConfigError):
            grid(images, **wrong)

    def full(file: io.BytesIO, **_: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(DataError, match=r"a\.npz: cannot be written \(No space left"):
        write_images(path, images)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    with pytest.raises(DataError, match="cannot be written"):
        write_images(tmp_path / "none" / "a.npy", images)


# --- what is an image source, and what importing costs --------------------------------------------


def test_tables_do_not_look_like_images(tmp_path: Path) -> None:
    tables = [
        save(tmp_path / "t.csv", b"a,b\n1,2\n"),
        save(tmp_path / "t.csv.gz", gzip.compress(b"a,b\n1,2\n")),
        save(tmp_path / "t.parquet", b"PAR1"),
        npy(tmp_path / "t.npy", np.zeros((3, 2))),
        npz(tmp_path / "t.npz", x=np.zeros((3, 2)), cube=np.zeros((3, 2, 2))),
        save(tmp_path / "labels-idx1", idx(noise(4))),
        save(tmp_path / "bad.npz", b"junk"),
        tmp_path / "none.csv",
        np.zeros((3, 2)),
        {"a": 1},
        None,
    ]
    assert [t for t in tables if looks_like_images(t)] == []
    images = [
        tmp_path,
        tmp_path / "none.png",
        "sklearn:digits",
        np.zeros((2, 2, 2)),
        npz(tmp_path / "i.npz", images=noise(2, 2, 2)),
    ]
    assert all(looks_like_images(i) for i in images)


def test_importing_data_loads_no_decoder() -> None:
    code = "import sys, diffeo.data; print([m for m in ('PIL', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
