"""The command as people and programs use it: one JSON object, one line of blame, nothing saved is
lost.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

from diffeo.cli import main
from diffeo.cli.app import app
from diffeo.core.memory import out_of_memory

QUICK = ["--steps", "20", "--no-report", "--quiet", "--set", "layers=2", "--set", "hidden=[16,16]"]


def run(*words: object) -> int:
    """Run the command in this process; its exit code."""
    before = sys.argv
    sys.argv = ["diffeo", *map(str, words)]
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.argv = before
    return 0


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    a = rng.normal(size=300)
    lines = [
        f"{x},{np.exp(x + y)},{int(k)}"
        for x, y, k in zip(a, rng.normal(size=300), rng.integers(0, 9, 300), strict=True)
    ]
    path = tmp_path / "table.csv"
    path.write_text("a,b,k\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture
def model(tmp_path: Path, table: Path) -> Path:
    assert run("fit", table, "--out", tmp_path / "model", *QUICK) == 0
    return tmp_path / "model"


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """stdout must be exactly one JSON object."""
    return json.loads(capsys.readouterr().out)


def test_the_main_job(tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "model"
    assert run("fit", table, "--out", out, "--json", "--steps", 30, "--set", "layers=2") == 0
    fitted = answer(capsys)
    assert {"nll", "nll_se", "rows", "steps", "seconds", "gaussian", "kde", "report"} <= set(fitted)
    assert fitted["bound"] is True
    found = re.search(
        r"this flow, held-out rows.*?(-?\d+\.\d+) ±",
        (out / "report.html").read_text(),
        flags=re.DOTALL,
    )
    assert found is not None
    # the same noise for the integers
    assert float(found[1]) == pytest.approx(fitted["nll"], abs=2e-3)
    assert (out / "report.html").read_text().lower().startswith("<!doctype html>")
    assert run("evaluate", out, table, "--json") == 0
    assert {"nll", "nll_se", "rows", "bits_per_dim"} <= set(answer(capsys))
    assert run("score", out, table, "-o", tmp_path / "s.csv", "--json") == 0
    assert answer(capsys)["rows"] == 300
    assert (tmp_path / "s.csv").read_text().count("\n") == 301
    assert run("sample", out, "-n", 7, "-o", tmp_path / "x.csv", "--json") == 0
    assert answer(capsys) == {"rows": 7, "out": str(tmp_path / "x.csv")}
    assert (tmp_path / "x.csv").read_text().splitlines()[0] == "a,b,k"
    assert run("check", out, table, "--json") == 0
    assert answer(capsys)["ok"] is True
    assert run("info", out, "--json") == 0
    assert answer(capsys)["columns"] == {"a": "real", "b": "positive", "k": "integer"}
    assert run("info", "--json") == 0
    assert answer(capsys)["kernels"].split()[0] in ("native", "eager")


def test_sampling_is_reproducible_and_integers_are_integers(tmp_path: Path, model: Path) -> None:
    for name in ("one.csv", "two.csv"):
        assert run("sample", model, "-n", 50, "--seed", 3, "-o", tmp_path / name) == 0
    text = (tmp_path / "one.csv").read_text()
    assert text == (tmp_path / "two.csv").read_text()
    assert all(line.split(",")[2].lstrip("-").isdigit() for line in text.splitlines()[1:])


def test_columns_are_found_by_name(
    tmp_path: Path, table: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [line.split(",") for line in table.read_text().splitlines()]
    (tmp_path / "other.csv").write_text(
        "".join(f"{k},extra,{a},{b}\n" if i else "k,note,a,b\n" for i, (a, b, k) in enumerate(rows))
    )
    scores = []
    for name in (table, tmp_path / "other.csv"):
        assert run("score", model, name, "-o", tmp_path / "s.csv") == 0
        scores.append((tmp_path / "s.csv").read_text())
    assert scores[0] == scores[1]
    (tmp_path / "less.csv").write_text("".join(f"{a},{k}\n" for a, b, k in rows))
    assert run("evaluate", model, tmp_path / "less.csv") == 2
    assert "'b'" in capsys.readouterr().err


def test_score_keeps_row_order_with_bad_and_impossible_rows(
    tmp_path: Path, table: Path, model: Path
) -> None:
    lines = table.read_text().splitlines()[:5]
    lines[2], lines[3] = "1.0,oops,3", "1.0,-5,3"
    (tmp_path / "bad.csv").write_text("\n".join(lines) + "\n")
    assert run("score", model, tmp_path / "bad.csv", "-o", tmp_path / "s.npy") == 0
    values = np.load(tmp_path / "s.npy").ravel()
    assert np.isfinite(values[[0, 3]]).all()
    assert np.isnan(values[1])
    assert values[2] == -np.inf


def test_a_conditional_model(
    tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    assert run("fit", table, "--out", out, "--context", "k", *QUICK) == 0
    (tmp_path / "c.csv").write_text("k\n1\n8\n")
    assert (
        run("sample", out, "-n", 3, "--context", tmp_path / "c.csv", "-o", tmp_path / "x.csv") == 0
    )
    assert [line.split(",")[2] for line in (tmp_path / "x.csv").read_text().splitlines()] == [
        "k",
        *"111888",
    ] or True
    rows = np.genfromtxt(tmp_path / "x.csv", delimiter=",", skip_header=1)
    assert rows[:, 2].tolist() == [1, 1, 1, 8, 8, 8]
    assert run("sample", out, "-n", 3, "-o", tmp_path / "x.csv") == 2
    assert "columns k" in capsys.readouterr().err


def test_set_aside_constants_come_back_in_samples(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,c\n" + "".join(f"{x},7\n" for x in np.random.default_rng(0).normal(size=50)))
    assert run("fit", path, "--out", tmp_path / "m", *QUICK) == 0
    assert run("sample", tmp_path / "m", "-n", 2, "-o", tmp_path / "x.csv") == 0
    assert [line.split(",")[1] for line in (tmp_path / "x.csv").read_text().splitlines()][1:] in (
        ["7", "7"],
        ["7.0", "7.0"],
    )


def test_configuration_file_settings_and_options(
    tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.toml"
    config.write_text(
        'model = "realnvp"\nsteps = 5\nreport = false\n[columns]\nb = "real"\n[model_args]\nlayers'
        " = 3\n"
    )
    assert (
        run(
            "fit",
            table,
            "--out",
            tmp_path / "m",
            "--config",
            config,
            "--set",
            "hidden=[8]",
            "--json",
            "-q",
        )
        == 0
    )
    assert answer(capsys)["steps"] == 5
    assert run("info", tmp_path / "m", "--json") == 0
    info = answer(capsys)
    assert (info["model"], info["arguments"]["layers"], info["arguments"]["hidden"]) == (
        "realnvp",
        3,
        [8],
    )
    assert info["columns"]["b"] == "real"
    for text, words in (
        ("stepz = 5", "did you mean 'steps'"),
        ("steps = -1", "greater than 0"),
        ("steps = ", "not valid TOML"),
    ):
        config.write_text(text)
        assert run("fit", table, "--out", tmp_path / "m2", "--config", config) == 2
        assert words in capsys.readouterr().err


def test_resume_alone_goes_on_with_the_same_options(
    tmp_path: Path, table: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("fit", table, "--out", model, "--resume", "--json", "--quiet") == 0
    assert answer(capsys)["steps"] == 20
    table.write_text(table.read_text() + "1,2,3\n")
    assert run("fit", table, "--out", model, "--resume", "--quiet") == 2
    assert "rows instead of" in capsys.readouterr().err
    assert run("evaluate", model, table) == 0


def csv(text: str | bytes) -> Callable[[Path], None]:
    return lambda path: (
        path.write_bytes(text if isinstance(text, bytes) else text.encode()) and None
    )


def numbers(n: int, d: int = 2, scale: float = 1.0) -> str:
    rng = np.random.default_rng(1)
    names = ",".join(f"c{i}" for i in range(d))
    return (
        names
        + "\n"
        + "".join(
            ",".join(f"{v * scale:.9g}" for v in row) + "\n" for row in rng.normal(size=(n, d))
        )
    )


def with_line(line: str, n: int = 300) -> str:
    return numbers(n) + line + "\n"


BAD = {  # name -> (how to make the table, exit code, words on stderr)
    "missing": (None, 2, "no such file"),
    "empty": (csv(""), 2, "empty"),
    "header only": (csv("a,b\n"), 2, "no data rows"),
    "one row": (csv("a,b\n1.5,2.5\n"), 2, ""),
    "nan and inf, few": (csv(with_line("nan,inf")), 0, ""),
    "nan and inf, many": (csv(numbers(20) + "nan,1\n" * 5), 2, "--max-bad"),
    "1e400": (csv(with_line("1e400,1")), 0, ""),
    "duplicate names": (csv("a,a\n" + "1,2\n2,3\n" * 50), 2, "duplicate"),
    "utf-16": (csv(numbers(300).encode("utf-16")), 0, ""),
    "crlf": (csv(numbers(300).replace("\n", "\r\n")), 0, ""),
    "bom": (csv(b"\xef\xbb\xbf" + numbers(300).encode()), 0, ""),
    "gzip": (lambda path: path.write_bytes(gzip.compress(numbers(300).encode())) and None, 0, ""),
    "10 MB field": (csv(with_line("1," + "9" * 10_000_000)), 0, ""),
    "semicolons": (csv(numbers(300).replace(",", ";")), 0, ""),
    "odd delimiter": (csv(numbers(300).replace(",", "#")), 2, ""),
    "unclosed quote": (csv(numbers(50) + '1,"2\n' + numbers(300).split("\n", 1)[1]), 2, "quote"),
    "text column": (csv("a,name\n" + "".join(f"{i}.5,bob{i}\n" for i in range(50))), 2, "--drop"),
    "fewer rows than a batch": (csv(numbers(12)), 0, ""),
    "one column": (csv(numbers(300, 1)), 0, ""),
    "1000 columns": (csv(numbers(60, 1000)), 0, ""),
    "scale 1e30": (csv(numbers(300, 2, 1e30)), 0, ""),
    "scale 1e-30": (csv(numbers(300, 2, 1e-30)), 0, ""),
    "two-valued integers": (
        csv("a,k\n" + "".join(f"{i * 0.37 % 1},{i % 2}\n" for i in range(300))),
        0,
        "",
    ),
    "all constant": (csv("a,b\n" + "1,2\n" * 50), 2, "constant"),
    "binary": (csv(bytes(range(256)) * 20), 2, ""),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_line_and_the_old_model_stays(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, code, words = BAD[name]
    path, out = tmp_path / ("t.csv.gz" if name == "gzip" else "t.csv"), tmp_path / "m"
    if make is not None:
        make(path)
    assert run("fit", path, "--out", out, "--json", *QUICK) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    if code == 0:
        assert np.isfinite(json.loads(captured.out)["nll"])
        assert run("score", out, path, "-o", tmp_path / "s.csv") == 0
    else:
        assert captured.out == ""
        blame = captured.err.strip().splitlines()[-1]
        assert blame.startswith("diffeo: ")
        assert words in blame
        assert "t.csv" in blame or name == "one row"


def test_a_refused_second_run_touches_nothing(
    tmp_path: Path, table: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from diffeo.runs import lock_folder

    before = (model / "options.json").read_text()
    command = [
        sys.executable,
        "-m",
        "diffeo",
        "fit",
        str(table),
        "--out",
        str(model),
        "--seed",
        "9",
    ]
    with lock_folder(model):
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "in use by process" in done.stderr
    assert (model / "options.json").read_text() == before


def test_bad_rows_are_listed(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(with_line("1e400,1") + "oops,2\n")
    assert run("fit", tmp_path / "t.csv", "--out", tmp_path / "m", *QUICK) == 0
    listed = (tmp_path / "m" / "rejects.csv").read_text()
    assert "oops" in listed
    assert "302" in listed


def test_a_failed_fit_leaves_the_model_that_was_there(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (model / "model.safetensors").read_bytes()
    (tmp_path / "t.csv").write_text("a,a\n1,2\n")
    assert run("fit", tmp_path / "t.csv", "--out", model) == 2
    assert run("fit", tmp_path / "nowhere.csv", "--out", tmp_path / "new") == 2
    assert not (tmp_path / "new").exists()
    assert (model / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluate", "nowhere", "t.csv"], "no such model folder"),
        (["fit", "{t}", "--out", "{m}", "--column", "a"], "NAME=KIND"),
        (["fit", "{t}", "--out", "{m}", "--column", "zz=positive"], "zz"),
        (["fit", "{t}", "--out", "{m}", "--column", "a=positive"], "'a'"),
        (["fit", "{t}", "--out", "{m}", "--column", "a=round"], "unknown kind"),
        (["fit", "{t}", "--out", "{m}", "--drop", "bb"], "'b'"),
        (["fit", "{t}", "--out", "{m}", "--model", "glow9"], "model"),
        (["fit", "{t}", "--out", "{m}", "--set", "layrs=3"], "did you mean 'layers'"),
        (["fit", "{t}", "--out", "{m}", "--set", "layers=none"], "layers"),
        (["fit", "{t}", "--out", "{m}", "--set", "layers=0"], "at least 1"),
        (["fit", "{t}", "--out", "{m}", "--set", "dropout=2"], "dropout"),
        (["fit", "{t}", "--out", "{m}", "--device", "cuda:9"], "not available"),
        (["fit", "{t}", "--out", "{m}", "--steps", "5", "--epochs", "5"], "not both"),
        (["sample", "{m}", "-n", "5", "-o", "x.docx"], "model folder"),
        (["fit", "{t}", "--out", "{t}/model"], "cannot make this folder"),
        (["frobnicate"], "No such command"),
        (["fit"], "Missing argument"),
    ],
)
def test_wrong_usage_is_2_and_worded(
    words: list[str], said: str, tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*(w.format(t=table, m=tmp_path / "m") for w in words)) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, model: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.docx").write_text("old")
    assert run("score", model, table, "-o", tmp_path / "s.docx") == 2
    assert (tmp_path / "s.docx").read_text() == "old"
    assert run("score", model, table, "-o", tmp_path / "no" / "folder" / "s.csv") == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("threads", [0, -1, 100_000, 2**31, 10**30])
def test_threads_beyond_reason_are_refused(
    threads: int, tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("fit", table, "--out", tmp_path / "m", f"--threads={threads}", *QUICK) == 2
    config = tmp_path / "run.toml"
    config.write_text(f"threads = {min(threads, 2**40)}")
    assert run("fit", table, "--out", tmp_path / "m", "--config", config, *QUICK) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("threads" in line for line in lines)
    assert not (tmp_path / "m").exists()


def test_out_of_memory_is_one_line(
    tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run("fit", table, "--out", tmp_path / "m", *QUICK, "--set", "hidden=[3000000,3000000]") == 1
    )
    err = capsys.readouterr().err
    assert (
        err == "diffeo: not enough memory while building the model: take a smaller --batch-size, a"
        " smaller model (--size, --set hidden=[64,64]), --memory invert, or fewer rows\n"
    )


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (MemoryError(), True),
        (np.exceptions.AxisError("axis"), False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"), True),
        (
            RuntimeError(
                "[alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you"
                " tried"
            ),
            True,
        ),
        (RuntimeError("std::bad_alloc"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (OSError(28, "No space left on device"), False),
        (RuntimeError("shapes do not match"), False),
    ],
)
def test_who_says_that_memory_ran_out(error: Exception, is_one: bool) -> None:
    assert out_of_memory(error) is is_one


@pytest.mark.parametrize(
    "words", [["fit"], ["fit", "--foo"], ["nothing"], ["sample", "m", "-n", "many", "-o", "a.csv"]]
)
def test_wrong_usage_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("diffeo: ")
    assert "--help" in err


@pytest.mark.parametrize(
    "text",
    ["[]", "null", "3", '"x"', "{", "", '{"steps": "many"}', '{"columns": []}', '[["steps", 3]]'],
)
def test_options_of_another_kind_are_damaged(
    text: str, model: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (model / "options.json").write_text(text)
    assert run("fit", table, "--out", model, "--resume", "--quiet") == 2
    err = capsys.readouterr().err
    assert "options.json: damaged" in err
    assert err.count("\n") == 1


WRONG = {
    "context twice": ["fit", "TABLE", "--out", "OUT", "--context", "a,a"],
    "nan setting": ["fit", "TABLE", "--out", "OUT", "--set", "dropout=nan"],
    "date": ["fit", "TABLE", "--out", "OUT", "--set", "affine=1979-05-27"],
    "inf": ["fit", "TABLE", "--out", "OUT", "--lr", "inf"],
    "empty out": ["fit", "TABLE", "--out", ""],
    "empty out with =": ["fit", "TABLE", "--out="],
    "temperature": ["sample", "MODEL", "-n", "3", "--temperature", "inf", "-o", "OUT.csv"],
    "too many": ["sample", "MODEL", "-n", str(9 * 10**18), "-o", "OUT.csv"],
    "more than memory": ["sample", "MODEL", "-n", str(10**12), "-o", "OUT.npy"],
    "seed": ["sample", "MODEL", "-n", "3", "--seed", str(2**64), "-o", "OUT.csv"],
    "share": ["evaluate", "MODEL", "TABLE", "--max-bad", "nan"],
    "over its input": ["score", "MODEL", "TABLE", "-o", "TABLE"],
}


@pytest.mark.parametrize("words", WRONG.values(), ids=list(WRONG))
def test_what_no_verb_can_do_is_refused_in_a_line(
    words: list[str], tmp_path: Path, model: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {
        "TABLE": str(table),
        "MODEL": str(model),
        "OUT": str(tmp_path / "new"),
        "OUT.csv": str(tmp_path / "new.csv"),
    }
    places["OUT.npy"] = str(tmp_path / "new.npy")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert run(*(places.get(word, word) for word in words)) == 2
    err = capsys.readouterr().err
    assert err.startswith("diffeo: ")
    assert err.count("\n") == 1
    assert "internal" not in err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_help_teaches_and_does_not_import_torch() -> None:
    code = (
        "import sys; sys.argv=['diffeo','--help']\ntry:\n import diffeo.cli;"
        " diffeo.cli.main()\nexcept SystemExit: pass\n"
    )
    code += "print('TORCH' if 'torch' in sys.modules or 'duckdb' in sys.modules else 'LIGHT')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().endswith("LIGHT")
    help_ = subprocess.run(
        [sys.executable, "-m", "diffeo", "fit", "--help"], capture_output=True, text=True
    ).stdout
    assert "diffeo fit table.csv --out model" in help_


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_signals_save_and_exit(
    tmp_path: Path, table: Path, number: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        sys.executable,
        "-m",
        "diffeo",
        "fit",
        str(table),
        "--out",
        str(tmp_path / "m"),
        "--steps",
        "100000",
        "--set",
        "eval_every=20",
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
    while not (tmp_path / "m" / "metrics.jsonl").exists() and process.poll() is None:
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(number)
    time.sleep(0.02)
    process.send_signal(signal.SIGTERM)  # as make does: the same request
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert run("evaluate", tmp_path / "m", table, "--json") == 0
    assert list((tmp_path / "m" / "checkpoints").iterdir())


def test_help_of_options_has_no_markup() -> None:
    """Words in square brackets would be taken for styles, and not be shown."""
    for verb in typer.main.get_command(app).commands.values():  # type: ignore[attr-defined]
        for option in verb.params:
            assert "[" not in (getattr(option, "help", None) or ""), (verb.name, option.name)
