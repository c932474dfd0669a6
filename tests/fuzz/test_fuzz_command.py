"""Command lines of nasty values over all verbs: exit code 0, or 2 with one line; nothing is written
but to --out.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from diffeo.cli import main

NUMBERS = [
    "0",
    "1",
    "3",
    "-1",
    "+-1",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "9e18",
    str(2**63),
    str(2**64),
    "10" * 40,
    "",
    " ",
    "1.5",
    "x",
    "٣",
]
WORDS = [
    "",
    " ",
    "a",
    "a,a",
    "none",
    "[bold]x[/]",
    "[/]",
    "ünï,日本",
    "\n",
    "real",
    "a=",
    "=",
    "a=real",
    "1,2,nan",
    "--",
    "{}",
    "$\\frac{",
]
SETTINGS = [
    "dropout=nan", "dropout=2", "affine=1979-05-27", "affine=10:00:00", "hidden=[]", "hidden=[0]",
    "hidden=[[1]]", "hidden=-3",
    "layers=0", "layers=-1", "layers=1e99", "bins=0", "bins=1", "bins=inf", "seed=-1",
    "model.seed=1", "ema=1", "clip=nan",
    "eval_every=0", "warmup=3", "columns=3", "context=3", "context=['a','a']", "drop=[1]",
    "valid_share=1", "valid_share=0",
    "mixing=what", "spline=what", "x={a=1}", "model_args=3", "threads=100000", "minutes=inf",
    "steps=" + str(2**64), "=", "layers",
    "valid=''", "device=cuda:99", "device=[]", "memory=what", "report=3", "bound=-1", "bound=nan",
    "batch_size=" + str(2**62),
]  # fmt: skip
PLACES = [
    "model",
    "images.npz",
    "table.csv",
    "empty.csv",
    "folder",
    "missing",
    "missing/deep.csv",
    "",
    ".",
    "/proc/version",
    "bad.json",
]
OUTS = [
    "out/a.csv",
    "out/a.npy",
    "out/a.png",
    "out/a.npz",
    "out/a.parquet",
    "out/m",
    "out",
    "out/none/a.csv",
    "",
    "/proc/x.csv",
    "table.csv",
]

VERBS = {
    "fit": ([PLACES], ["--steps 1", "--no-report", "--quiet"], {
        "--set": SETTINGS, "--context": [*WORDS, "c"], "--column": WORDS, "--drop": [*WORDS, "b"],
        "--lr": NUMBERS, "--config": PLACES,
        "--seed": NUMBERS, "--batch-size": NUMBERS, "--max-bad": NUMBERS, "--valid": PLACES,
        "--model": WORDS, "--device": WORDS,
        "--memory": WORDS, "--bits": NUMBERS, "--resize": WORDS, "--size": WORDS,
        "--labels": PLACES, "--threads": ["0", "nan", "100000"],
    }),
    "evaluate": ([["model"], PLACES], [], {"--max-bad": NUMBERS, "--importance": ["0", "nan", "2",
    "-1"], "--labels": PLACES}),
    "score": ([["model"], PLACES], [], {"--importance": ["0", "-1", "2", "1e5"], "--resize": WORDS,
    "--threads": ["100000", "-1"]}),
    "sample": ([["model", *PLACES]], [], {
        "-n": NUMBERS, "--seed": NUMBERS, "--temperature": NUMBERS, "--context": PLACES,
        "--class": WORDS, "--columns": NUMBERS,
    }),
    "check": ([["model"], PLACES], [], {"--rows": NUMBERS, "--labels": PLACES, "--resize": WORDS}),
    "info": ([["model", *PLACES]], [], {}),
    "demo": ([["what", "", "[bold]"]], [], {"--minutes": NUMBERS, "--seed": NUMBERS}),
    "interpolate": ([["model", *PLACES], PLACES, PLACES], [], {"--steps": NUMBERS,
    "--class": WORDS}),
    "edit": ([["model", *PLACES], PLACES], [], {"--toward": WORDS, "--from": WORDS, "-n": NUMBERS,
    "--strengths": WORDS}),
    "reconstruct": ([["model", *PLACES], PLACES], [], {"-n": NUMBERS, "--seed": NUMBERS,
    "--resize": WORDS}),
    "infer": ([["density.py:nothing", "density.py", "missing.py:f", "", ":", "broken.py:f",
    "folder:f"]], [], {
        "--dim": NUMBERS, "--support": WORDS, "--effort": WORDS, "--steps": NUMBERS,
        "--lr": NUMBERS, "--scale": NUMBERS,
    }),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder, before = tmp_path_factory.mktemp("fuzz"), Path.cwd()
    os.chdir(folder)
    x = np.random.default_rng(0).normal(size=(60, 3))
    np.savetxt("table.csv", x, delimiter=",", header="a,b,c", comments="")
    np.savez("images.npz", images=np.zeros((4, 6, 6), np.uint8))
    Path("empty.csv").touch()
    Path("folder").mkdir()
    Path("bad.json").write_text("[1]")
    Path("density.py").write_text("x = 3\n")
    Path("broken.py").write_text("1/0\n")
    assert (
        call(
            [
                "fit",
                "table.csv",
                "--out",
                "model",
                "--steps",
                "1",
                "--no-report",
                "--quiet",
                "--set",
                "layers=2",
            ]
        )[0]
        == 0
    )
    yield folder
    os.chdir(before)


def call(words: list[str]) -> tuple[int, str]:
    """The command in this process: exit code and stderr."""
    before, sys.argv = sys.argv, ["diffeo", *words]
    err = io.StringIO()
    try:
        with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
            main()
    except SystemExit as stop:
        return int(stop.code or 0), err.getvalue()
    finally:
        sys.argv = before
    return 0, err.getvalue()


def command_line(seed: int) -> list[str]:
    draw = random.Random(seed)
    verb = draw.choice(list(VERBS))
    places, fixed, options = VERBS[verb]
    words = [
        verb,
        *(draw.choice(values) if draw.random() < 0.5 else usual(values) for values in places),
    ]
    words += [part for text in fixed for part in text.split()]
    if verb not in ("evaluate", "check", "info"):
        words += [
            "--out",
            (
                draw.choice(OUTS)
                if draw.random() < 0.3
                else "out/m"
                if verb in ("fit", "demo", "infer")
                else "out/a.csv"
            ),
        ]
    if verb == "sample":
        words += ["-n", "5"]
    for option in draw.sample(list(options), min(len(options), draw.randint(0, 2))):
        words += [option, draw.choice(options[option])]
    return words


def usual(values: list[str]) -> str:
    return "table.csv" if values is PLACES else values[0]


def files(folder: Path) -> dict[str, int]:
    """All but what is written to --out."""
    found = (
        p
        for p in folder.rglob("*")
        if p.is_file() and p.relative_to(folder).parts[0] != "out" and p.suffix != ".pyc"
    )
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in found}


def fault(place: Path, words: list[str]) -> tuple[int, str | None]:
    """The exit code of a command line, and what is wrong with how it ended."""
    before = files(place)
    code, err = call(words)
    blame = [line for line in err.splitlines() if line.startswith("diffeo: ")]
    if code not in (0, 2) or "internal error" in err or "Traceback" in err:
        return code, err[-400:]
    if code == 2 and len(blame) != 1:
        return code, f"not one line: {err[-400:]}"
    changed = {
        name for name in {**before, **files(place)} if before.get(name) != files(place).get(name)
    }
    return code, f"changed {changed}" if changed - {name for name in words if code == 0} else None


def test_command_lines(
    place: Path, count: Callable[[int, int], int], capsys: pytest.CaptureFixture[str]
) -> None:
    faults, codes, start = [], Counter[int](), time.monotonic()
    for seed in range(count(60, 3000)):
        (place / "out").mkdir(exist_ok=True)
        words = command_line(seed)
        code, wrong = fault(place, words)
        codes[code] += 1
        if wrong is not None:
            faults.append((seed, words, code, wrong))
    with capsys.disabled():
        print(
            f"\n{codes.total()} command lines, exit codes {dict(codes)}, {len(faults)} faults,"
            f" {time.monotonic() - start:.0f} s"
        )
    assert not faults, "\n".join(map(str, faults))
