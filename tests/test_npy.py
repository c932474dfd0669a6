"""NumPy's files: what they hold is read exactly; damaged, lying and swelling ones are refused in
time, memory and one line.
"""

from __future__ import annotations

import functools
import gzip
import io
import re
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffeo.core.errors import DataError
from diffeo.data import read_images, read_table


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    """A `.npy` file of any header."""
    text = header.encode() + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def of(shape: str, descr: str = "'<f8'", order: str = "False", data: bytes = bytes(160)) -> bytes:
    return npy(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}", data)


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def zipped(names: list[str], content: bytes, packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a name is there twice
        for name in names:
            archive.writestr(name, content)
    return file.getvalue()


@functools.cache
def swelling(shape: str) -> bytes:
    """An array of 100 MB of zeros in 100 kB."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w") as member,
    ):
        member.write(of(shape, data=b""))
        for _ in range(100):
            member.write(bytes(1_000_000))
    return file.getvalue()


GOOD = saved(np.arange(20.0).reshape(10, 2))
BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing after the magic": (lambda: b"\x93NUMPY\x01\x00", "damaged"),
    "no NumPy": (lambda: b"a,b\n1,2\n", "damaged or no NumPy file"),
    "not Python": (lambda: npy("{'descr': '<f8', (("), "damaged"),
    "a string left open": (lambda: npy("{'descr': '''"), "damaged"),
    "deep brackets": (lambda: npy("(" * 9000), "damaged"),
    "a number for a type": (lambda: of("(10, 2)", "5"), "damaged"),
    "an unknown type": (lambda: of("(10, 2)", "'<q9'"), "damaged"),
    "objects": (lambda: of("(10, 2)", "'|O'"), "Python objects"),
    "objects in records": (lambda: of("(10,)", "[('a', '|O')]"), "Python objects"),
    "a negative shape": (lambda: of("(-10, 2)"), "damaged"),
    "two negative shapes": (lambda: of("(-10, -2)"), "damaged"),
    "a huge shape": (lambda: of("(10, 2, " + "9" * 30 + ")"), "of data"),
    "a huge number": (lambda: of(f"({'9' * 5000}, 2)"), "damaged|of data"),
    "a shape of text": (lambda: of("('a',)"), "damaged"),
    "a shape of floats": (lambda: of("(10.0, 2)"), "damaged"),
    "no shape": (lambda: of("()"), "of data|no table"),
    "an order of text": (lambda: of("(10, 2)", order="'F'"), "damaged"),
    "a missing key": (lambda: npy("{'descr': '<f8', 'shape': (10, 2)}", bytes(160)), "damaged"),
    "a long header": (lambda: npy("{" + " " * 60_000 + "}"), "damaged"),
    "a header of gigabytes": (lambda: b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(999), "damaged"),
    "an unknown version": (lambda: b"\x93NUMPY\x09\x00" + GOOD[8:], "damaged"),
    "no rows of many columns": (lambda: of("(0, 1000000000)", data=b""), "1,000,000,000 columns"),
    "many rows of nothing": (lambda: of("(1000000000000,)", "'|V0'", data=b""), "damaged"),
    "many rows of no columns": (lambda: of("(1000000000000, 0)", data=b""), "no columns"),
    "records of rows": (lambda: of("(2,)", "[('a', '<f8', (10,))]"), "numbers in each row"),
    "records of nothing": (lambda: of("(20,)", "[]", data=b""), "damaged"),
    "cut short": (lambda: GOOD[:-1], "159 of 160 bytes"),
    "too long": (lambda: GOOD + b"\0", "1 more"),
    "two arrays": (lambda: GOOD + GOOD, "goes on after the 160 bytes"),
}
BAD_NPZ: dict[str, tuple[Callable[[], bytes], str]] = {
    "a name twice": (lambda: zipped(["x.npy", "x.npy"], GOOD), "duplicate"),
    "many arrays": (lambda: zipped([f"{i}.npy" for i in range(1001)], GOOD), "1,001 arrays"),
    "swelling": (lambda: swelling("(6250000, 2)"), "unpacks from"),
    "swelling behind a short header": (lambda: swelling("(10, 2)"), "goes on after"),
    "cut short": (lambda: zipped(["x.npy"], GOOD)[:-30], "damaged"),
    "an array cut short": (lambda: zipped(["x.npy"], GOOD[:-9]), "151 of 160"),
    "a flipped bit": (
        lambda: zipped(["x.npy"], GOOD, zipfile.ZIP_STORED).replace(GOOD[-20:], bytes(20)),
        "damaged",
    ),
    "no zip": (lambda: b"PK\x03\x04" + bytes(99), "damaged"),
    "no arrays": (lambda: zipped(["readme.txt"], b"hello"), "none"),
}
CASES = {f"npy: {k}": (".npy", *v) for k, v in BAD.items()} | {
    f"npz: {k}": (".npz", lambda b=build: zipped(["x.npy"], b()), words)
    for k, (build, words) in BAD.items()
}
CASES |= {f"npz: {k}.": (".npz", *v) for k, v in BAD_NPZ.items()}


@pytest.mark.parametrize("case", CASES)
def test_bad_files_are_worded(case: str, tmp_path: Path) -> None:
    suffix, build, words = CASES[case]
    path = tmp_path / f"t{suffix}"
    path.write_bytes(build())
    for read in (read_table, read_images):
        with pytest.raises(DataError) as caught:
            read(path)
        message = str(caught.value)
        assert message.startswith(str(path))
        assert "\n" not in message
        assert len(message) < 500
        assert read is read_images or re.search(words, message), message


def test_refusals_are_quick_and_small(tmp_path: Path) -> None:
    """All in a process of 60 MB more than Python, NumPy and diffeo.data themselves, in two seconds
    of its time each.
    """
    paths = []
    for k, (suffix, build, _) in enumerate(CASES.values()):
        paths.append(tmp_path / f"{k}{suffix}")
        paths[-1].write_bytes(build())
    paths.append(tmp_path / "a-idx3.gz")
    paths[-1].write_bytes(
        gzip.compress(struct.pack(">4I", 0x803, 100, 1000, 1000) + bytes(100_000_000), 1)
    )
    code = (
        "import resource, sys, time\n"
        "from diffeo.data import read_images, read_table\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in sys.argv[1:]:\n"
        "    start = time.process_time()\n"
        "    for read in (read_images, read_table):\n"
        "        try: print('read', path, read(path))\n"
        "        except ValueError: pass\n"
        "    if time.process_time() - start > 2: print('slow', path)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, check=True
    )
    *wrong, grown = done.stdout.splitlines()
    assert not wrong
    assert int(grown) < 60


RIGHT: dict[str, Callable[[np.ndarray], Any]] = {
    "plain": saved,
    "Fortran": lambda x: saved(np.asfortranarray(x)),
    "big-endian": lambda x: saved(x.astype(">f8")),
    "version 2": lambda x: npy(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (10, 2), }", x.tobytes(), 2
    ),
}


@pytest.mark.parametrize("case", RIGHT)
def test_sound_files_are_read_exactly(case: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(10, 2))
    content = RIGHT[case](x)
    (tmp_path / "t.npy").write_bytes(content)
    np.testing.assert_array_equal(read_table(tmp_path / "t.npy").values, x)
    for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        (tmp_path / "t.npz").write_bytes(zipped(["x.npy"], content, packing))
        np.testing.assert_array_equal(read_table(tmp_path / "t.npz").values, x)


def test_names_of_records_keep_their_letters(tmp_path: Path) -> None:
    table = np.zeros(9, dtype=[("größe", float), ("高さ", float)])
    table["größe"], table["高さ"] = np.arange(9), np.arange(9.0) ** 2
    with pytest.warns(UserWarning, match="NumPy"):
        np.save(tmp_path / "t.npy", table)
    assert read_table(tmp_path / "t.npy").schema.names == ("größe", "高さ")


def test_arrays_that_are_not_read_are_named(tmp_path: Path) -> None:
    x, grey = np.random.default_rng(0).normal(size=(10, 2)), np.zeros((2, 4, 4), np.uint8)
    np.savez(tmp_path / "t.npz", x=x, weights=x, columns=np.array(["a", "b"]))
    assert "1 arrays were not read: 'weights'" in "\n".join(
        read_table(tmp_path / "t.npz").describe()
    )
    np.savez(tmp_path / "i.npz", images=grey, labels=[0, 1], depth_map=grey)
    assert read_images(tmp_path / "i.npz").notes == ("1 arrays were not read: 'depth_map'",)


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    path.write_bytes(swelling("(6250000, 2)"))
    command = [sys.executable, "-m", "diffeo", "fit", str(path), "--out", str(tmp_path / "m")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
