"""Model folders and what may be done to them: sound ones to start from, and mutations by a random
number generator.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import diffeo
from diffeo.store import CONFIG, MANIFEST, WEIGHTS

TINY: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "table": (
        "nsf",
        (3,),
        {"layers": 2, "hidden": (4,), "bins": 3, "supports": ["real", "positive", "circular:0:6"]},
    ),
    "mixed": (
        "nsf",
        (3,),
        {
            "layers": 2,
            "hidden": (4,),
            "bins": 3,
            "mixing": "lu",
            "split": "random",
            "base": "mixture",
        },
    ),
    "conditional": (
        "realnvp",
        (2,),
        {"context_shape": (3,), "layers": 2, "hidden": (4, 4), "residual": True},
    ),
    "nice": ("nice", (1, 4, 4), {"size": "tiny", "layers": 2, "width": 4, "depth": 1}),
    "glow": (
        "glow",
        (1, 8, 8),
        {"size": "tiny", "scales": 2, "steps": 1, "width": 4, "classes": 3},
    ),
    "flowpp": (
        "flowpp",
        (1, 4, 4),
        {"size": "tiny", "steps": (1, 1, 1), "width": 4, "heads": 2, "components": 2},
    ),
    "jet": ("jet", (1, 8, 8), {"size": "tiny", "layers": 2, "width": 4, "heads": 2}),
    "lattice": ("lattice", (1, 4, 4), {"layers": 2, "hidden": (2,), "spectrum": True}),
}
LARGE = (2**31, 2**62, 2**63, 10**30, -1, -(2**62), 10**5, 17, 0)
ODD = (
    None,
    True,
    False,
    1.5,
    -0.5,
    1e300,
    float("nan"),
    float("inf"),
    "5",
    "",
    "\x1b[2J",
    "x" * 100_000,
    [],
    {},
    [[1]],
    [None],
    ["2"],
)


def sound(root: Path) -> dict[str, Path]:
    """A folder of every tiny model."""
    found = {}
    for name, (model, event, options) in TINY.items():
        flow = diffeo.models.MODELS[model](event, **options)
        flow.metadata = {"training": {"steps": 3, "rows": {"train": 9}}, "source": "a file"}
        found[name] = diffeo.save(flow, root / name)
    return found


def seal(folder: Path) -> None:
    """Make the manifest agree with the files, as an attacker would."""
    digests = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (WEIGHTS, CONFIG)
    }
    (folder / MANIFEST).write_text(json.dumps({"format": 1, "files": digests}))


def mutate(source: Path, target: Path, random: Random) -> str:
    """A mutated copy of a folder; in half of the cases its manifest agrees. What was done, in
    words.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    change = random.choice(MUTATIONS)
    said = change(target, random)
    if change in (manifest, files) or random.random() < 0.5:
        return said
    seal(target)
    return f"{said}, sealed"


def setting(folder: Path, random: Random) -> str:
    """A value of config.json replaced by one of another type or size."""
    config = json.loads((folder / CONFIG).read_text())
    args = config["args"]
    place = random.choice([config, args, args, args, args, config["metadata"]])
    key = random.choice(list(place))
    old, new = place[key], random.choice([*LARGE, *ODD])
    if isinstance(old, list) and old and random.random() < 0.6:
        new = [*old]
        new[random.randrange(len(new))] = random.choice([*LARGE, *ODD])
        new = new * random.choice((1, 1, 1, 1000))
    place[key] = new
    (folder / CONFIG).write_text(json.dumps(config))
    return f"{key}={json.dumps(new)[:60]}"


def missing_or_extra_setting(folder: Path, random: Random) -> str:
    config = json.loads((folder / CONFIG).read_text())
    place = random.choice([config, config["args"]])
    key = random.choice([*place, "stranger"])
    if place.pop(key, None) is None:
        place[key] = 1
    (folder / CONFIG).write_text(json.dumps(config))
    return f"without or with {key}"


def header(folder: Path, random: Random) -> str:
    """A value in the safetensors header replaced."""
    table, body = _parts(folder)
    name = random.choice([n for n in table if n != "__metadata__"])
    kind = random.choice(
        ("dtype", "shape", "data_offsets", "name", "gone", "extra", "metadata", "length")
    )
    entry = table[name]
    if kind == "dtype":
        entry["dtype"] = random.choice(("F64", "I64", "I8", "BOOL", "C64", "F16", "BF16", 5, None))
    elif kind == "shape":
        entry["shape"] = random.choice(
            (
                [0, 2**60],
                [*entry["shape"], 1],
                ["3"],
                [True],
                [-1],
                [1.0],
                [2**70],
                None,
                [1] * 10_000,
            )
        )
    elif kind == "data_offsets":
        entry["data_offsets"] = random.choice(
            ([0, 4], [0, 2**62], [-4, 0], ["0", "4"], [8, 4], [], None)
        )
    elif kind == "name":
        table[name + random.choice(("x", "\x1b[31m", "é" * 10_000))] = table.pop(name)
    elif kind == "gone":
        del table[name]
    elif kind == "extra":
        table |= {
            f"extra{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
            for i in range(random.choice((1, 3_000)))
        }
    elif kind == "metadata":
        table["__metadata__"] = random.choice(({"a": "x" * 1_000_000}, [[]] * 10_000, 5))
    _join(folder, table, body, 2 ** random.randrange(64) if kind == "length" else None)
    return f"header: {kind} of {name}"


def weights(folder: Path, random: Random) -> str:
    """A number of the weights replaced by one that is none."""
    table, body = _parts(folder)
    name = random.choice(
        [n for n, t in table.items() if n != "__metadata__" and t["shape"] and 0 not in t["shape"]]
    )
    start = table[name]["data_offsets"][0]
    value = random.choice((float("nan"), float("inf"), float("-inf")))
    _join(folder, table, body[:start] + struct.pack("<f", value) + body[start + 4 :])
    return f"{value} in {name}"


def bits(folder: Path, random: Random) -> str:
    """A byte flipped, some cut off or added; not of the weights themselves, which any value is
    right for.
    """
    name = random.choice((WEIGHTS, CONFIG, MANIFEST))
    content = bytearray((folder / name).read_bytes())
    how = random.choice(("flip", "cut", "more", "empty"))
    if how == "flip":
        end = 8 + int.from_bytes(content[:8], "little") if name == WEIGHTS else len(content)
        content[random.randrange(end)] ^= 1 << random.randrange(8)
    elif how == "cut":
        del content[random.randrange(len(content)) :]
    elif how == "more":
        content += random.randbytes(random.choice((1, 1000)))
    else:
        content.clear()
    (folder / name).write_bytes(content)
    return f"{how} {name}"


def manifest(folder: Path, random: Random) -> str:
    table = json.loads((folder / MANIFEST).read_text())
    value = random.choice([*LARGE, *ODD])
    where = random.choice(("format", "files", "file", "digest", "extra"))
    if where in ("format", "files", "extra"):
        table[where] = value
    elif where == "file":
        table["files"]["../../etc/passwd"] = "0" * 64
    else:
        table["files"][random.choice((WEIGHTS, CONFIG))] = value
    (folder / MANIFEST).write_text(json.dumps(table))
    return f"manifest: {where}={str(value)[:40]}"


def files(folder: Path, random: Random) -> str:
    """A file missing, a link, a folder, a pipe, huge and empty inside, or left over from another
    save.
    """
    name = random.choice((WEIGHTS, CONFIG, MANIFEST))
    path = folder / name
    how = random.choice(("gone", "link", "dangling", "folder", "pipe", "sparse", "new", "stranger"))
    content = path.read_bytes()
    if how in ("gone", "link", "dangling", "folder", "pipe"):
        path.unlink()
    if how == "link":
        (folder / "elsewhere").write_bytes(content)
        path.symlink_to("elsewhere")
    elif how == "dangling":
        path.symlink_to("/nowhere/at/all")
    elif how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "sparse":
        os.truncate(path, 5 << 30)
    elif how == "new":
        (folder / f"{name}.new").write_bytes(content[: random.randrange(len(content))])
    elif how == "stranger":
        (folder / "code.py").write_text("raise SystemExit")
    return f"{how} {name}"


Mutation = Callable[[Path, Random], str]
OF_SETTINGS: tuple[Mutation, ...] = (setting, setting, setting, missing_or_extra_setting)
MUTATIONS = (*OF_SETTINGS, header, header, weights, bits, manifest, files)


def _parts(folder: Path) -> tuple[dict[str, Any], bytes]:
    content = (folder / WEIGHTS).read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _join(folder: Path, table: dict[str, Any], body: bytes, length: int | None = None) -> None:
    text = json.dumps(table).encode()
    (folder / WEIGHTS).write_bytes(
        struct.pack("<Q", len(text) if length is None else length) + text + body
    )
