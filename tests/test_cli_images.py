"""The command on images: files to a model, bits per dimension, grids; bad input gets one line."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits

import diffeo
from test_cli import answer, run

QUICK = [
    "--steps",
    "12",
    "--no-report",
    "--quiet",
    "--size",
    "tiny",
    "--set",
    "width=8",
    "--set",
    "model.steps=1",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 90 digits as PNG files, 12 x 10 pixels, in sub-folders named after their
    class.
    """
    root = tmp_path_factory.mktemp("images")
    data = load_digits(n_class=3)
    for i in range(90):
        place = root / f"class {data.target[i]}"
        place.mkdir(exist_ok=True)
        pixels = np.pad((data.images[i] * 15).astype(np.uint8), ((2, 2), (1, 1)))
        Image.fromarray(pixels).save(place / f"{i:03d}.png")
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """Of p(image)."""
    out = tmp_path_factory.mktemp("plain") / "model"
    assert run("fit", folder, "--out", out, *QUICK) == 0
    return out


@pytest.fixture(scope="module")
def by_class(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """Of p(image | class)."""
    out = tmp_path_factory.mktemp("classes") / "model"
    assert run("fit", folder, "--out", out, "--context", "label", *QUICK) == 0
    return out


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_from_a_folder_to_bits_per_dimension(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    assert (
        run(
            "fit",
            folder,
            "--out",
            out,
            "--model",
            "realnvp",
            "--size",
            "tiny",
            "--steps",
            4,
            "--json",
            "--flips",
        )
        == 0
    )
    fitted = answer(capsys)
    assert {"bits_per_dim", "bits_per_dim_se", "nll", "rows", "steps", "report", "check"} <= set(
        fitted
    )
    assert fitted["nll"] == pytest.approx(fitted["bits_per_dim"] * 120 * np.log(2))
    assert fitted["model"] == "realnvp"
    assert {p.name for p in (out / "samples").iterdir()} >= {"0000000.png", "0000004.png"}
    assert (out / "report.html").stat().st_size > 10_000
    assert run("evaluate", out, folder, "--json", "--importance", 4) == 0
    measured = answer(capsys)
    assert {"nll", "nll_se", "rows", "bits_per_dim", "bits_per_dim_se"} <= set(measured)
    assert (measured["rows"], measured["importance"], measured["bound"]) == (90, 4, True)
    assert run("evaluate", out, folder, "--json") == 0
    assert measured["bits_per_dim"] < answer(capsys)["bits_per_dim"]  # more draws, a tighter bound


def test_every_model_by_one_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # which is of real fields
    for name in [name for name in diffeo.models.MODELS if name != "lattice"]:
        small = ["--set", "layers=2"] if name in ("nice", "jet") else []
        words = ["--model", name, "--size", "tiny", "--steps", 1, "--no-report", "--quiet", *small]
        assert run("fit", "sklearn:digits", "--out", tmp_path / name, *words, "--json") == 0
        assert answer(capsys)["model"] == name
        assert run("info", tmp_path / name, "--json") == 0
        said = answer(capsys)
        assert said["images"] == {
            "channels": 1,
            "height": 8,
            "width": 8,
            "bits": 5,
            "classes": [str(i) for i in range(10)],
            "resize": None,
        }


def test_samples_are_a_grid_or_arrays(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(
            "sample",
            model,
            "-n",
            6,
            "--columns",
            3,
            "--temperature",
            0.7,
            "-o",
            tmp_path / "grid.png",
            "--json",
        )
        == 0
    )
    assert answer(capsys) == {"rows": 6, "out": str(tmp_path / "grid.png")}
    # 10 x 12 pixels, 5 times enlarged
    assert size(tmp_path / "grid.png") == (3 * 52 + 2, 2 * 62 + 2)
    for name in ("a", "b"):
        assert run("sample", model, "-n", 5, "--seed", 3, "-o", tmp_path / f"{name}.npz") == 0
    a, b = (np.load(tmp_path / f"{name}.npz")["images"] for name in ("a", "b"))
    assert (a.shape, a.dtype) == ((5, 12, 10), np.uint8)
    assert np.array_equal(a, b)


def test_samples_of_classes(
    tmp_path: Path, by_class: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("sample", by_class, "-n", 7, "-o", tmp_path / "all.npz") == 0
    assert np.load(tmp_path / "all.npz")["labels"].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert (
        run(
            "sample",
            by_class,
            "-n",
            4,
            "--class",
            "class 2",
            "--class",
            "class 0",
            "-o",
            tmp_path / "some.npz",
        )
        == 0
    )
    assert np.load(tmp_path / "some.npz")["labels"].tolist() == [2, 0, 2, 0]
    assert run("sample", by_class, "-n", 4, "--class", "7", "-o", tmp_path / "no.npz") == 2
    assert "class 0, class 1, class 2" in capsys.readouterr().err
    assert run("evaluate", by_class, folder, "--json") == 0
    assert answer(capsys)["rows"] == 90


def test_walks_through_latent_space(
    tmp_path: Path, model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = sorted((folder / "class 0").iterdir())[0]
    images = diffeo.read_images(folder).pixels
    assert (
        run("interpolate", model, first, f"{folder}:40", "--steps", 5, "-o", tmp_path / "strip.npz")
        == 0
    )
    strip = np.load(tmp_path / "strip.npz")["images"]
    assert strip.shape == (5, 12, 10)
    assert np.abs(strip[0].astype(int) - np.asarray(Image.open(first)).astype(int)).max() <= 1
    assert np.abs(strip[-1].astype(int) - images[40, 0].astype(int)).max() <= 1
    capsys.readouterr()
    assert run("reconstruct", model, folder, "-n", 4, "-o", tmp_path / "rows.png", "--json") == 0
    said = answer(capsys)
    assert (said["rows"], said["scales"]) == (4, 2)
    assert said["exact"] > 0.999
    assert size(tmp_path / "rows.png") == (4 * 52 + 2, 3 * 62 + 2)
    words = ["--toward", "class 1", "--from", "class 0", "-n", 3, "--strengths", "0,1"]
    assert run("edit", model, folder, *words, "-o", tmp_path / "edit.npz") == 0
    edited = np.load(tmp_path / "edit.npz")["images"].reshape(3, 3, 12, 10).astype(int)
    assert np.abs(edited[:, 0] - edited[:, 1]).max() <= 1  # strength 0 is the image itself
    assert np.abs(edited[:, 0] - edited[:, 2]).max() > 10


def test_score_and_check(
    tmp_path: Path, model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("score", model, folder, "-o", tmp_path / "s.csv", "--json") == 0
    assert answer(capsys)["rows"] == 90
    scores = np.loadtxt(tmp_path / "s.csv", skiprows=1)
    assert run("evaluate", model, folder, "--json") == 0
    assert -scores.mean() == pytest.approx(answer(capsys)["nll"], rel=1e-3)
    assert run("check", model, folder, "--json") == 0
    found = answer(capsys)
    assert found["ok"] is True, found["verdict"]
    assert found["pixels_back"] > 0.999
    assert found["logdet_autograd_max"] < 1e-6  # behind the dequantisation the flow is exact


def test_labels_and_sizes_of_other_files(
    tmp_path: Path, folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*.png"))]
    table = tmp_path / "labels.csv"
    table.write_text(
        "file,label\n"
        + "".join(f"{name},{'odd' if i % 2 else 'even'}\n" for i, name in enumerate(names))
    )
    out = tmp_path / "model"
    words = ["--labels", str(table), "--context", "label", "--resize", "8x8", *QUICK]
    assert run("fit", folder, "--out", out, *words) == 0
    capsys.readouterr()
    assert run("info", out, "--json") == 0
    said = answer(capsys)["images"]
    assert (said["classes"], said["height"], said["resize"]) == (["even", "odd"], 8, "8x8")
    # the size of training by itself
    assert run("evaluate", out, folder, "--labels", table, "--json") == 0
    assert answer(capsys)["rows"] == 90
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "other.png")
    assert run("evaluate", model, tmp_path / "other.png") == 2
    assert "images are 9x9, the model's 12x10: add --resize 12x10" in capsys.readouterr().err
    assert run("evaluate", model, tmp_path / "other.png", "--resize", "12x10") == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fit", "IMAGES", "--column", "a=positive"], "columns is an option for tables"),
        (["fit", "IMAGES", "--context", "a"], "--context label"),
        (["fit", "IMAGES", "--size", "huge"], "tiny, small, paper"),
        (["fit", "IMAGES", "--set", "scales=9", "--set", "pad=none"], "at most scales=1"),
        (["fit", "IMAGES", "--set", "layers=3"], "layers: not a setting of glow"),
        (["fit", "IMAGES", "--resize", "big"], "resize"),
        (["fit", "IMAGES", "--bits", "9"], "bits"),
        (["fit", "TABLE", "--flips"], "flips is an option for images"),
        (["fit", "TABLE", "--model", "glow"], "--model glow is for images"),
        (["fit", "UNLABELLED", "--context", "label"], "no labels"),
        (["sample", "MODEL", "-n", "3", "-o", "x.csv"], "use .png, .npz or .npy"),
        (["sample", "MODEL", "-n", "3", "--class", "1", "-o", "x.png"], "not class-conditional"),
        (["sample", "MODEL", "-n", "3", "--context", "x.csv", "-o", "x.png"], "use --class"),
        (["interpolate", "MODEL", "IMAGES", "IMAGES", "-o", "x.png"], "holds 90 images"),
        (["interpolate", "MODEL", "IMAGES:90", "IMAGES:0", "-o", "x.png"], "numbered from 0"),
        (["edit", "MODEL", "IMAGES", "--toward", "class 9", "-o", "x.png"], "no label 'class 9'"),
        (
            ["edit", "MODEL", "IMAGES", "--toward", "class 1", "--strengths", "a", "-o", "x.png"],
            "--strengths a",
        ),
        (
            ["edit", "BYCLASS", "IMAGES", "--toward", "class 1", "-o", "x.png"],
            "without --context label",
        ),
        (["evaluate", "MODEL", "nothing"], "no such file"),
        (
            ["edit", "MODEL", "IMAGES", "--toward", "class 1", "--strengths", "nan", "-o", "x.png"],
            "--strengths nan",
        ),
        (["interpolate", "MODEL", "IMAGES:²", "IMAGES:0", "-o", "x.png"], "no such file"),
        (["fit", "IMAGES", "--resize", "²"], "resize"),
    ],
)
def test_bad_input_gets_one_line(
    words: list[str],
    said: str,
    tmp_path: Path,
    folder: Path,
    model: Path,
    by_class: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text("a,b\n" + "".join(f"{i},{i * i}\n" for i in range(50)))
    np.savez(
        tmp_path / "plain.npz",
        images=np.random.default_rng(0).integers(0, 255, (20, 8, 8)).astype(np.uint8),
    )
    places = {
        "IMAGES": folder,
        "TABLE": "table.csv",
        "UNLABELLED": "plain.npz",
        "MODEL": model,
        "BYCLASS": by_class,
    }
    given = [
        word.replace(name, str(place)) if word.startswith(name) else word
        for word in words
        for name, place in [
            next(((n, p) for n, p in places.items() if word.startswith(n)), ("", ""))
        ]
    ]
    more = ["--out", "m", "--steps", "1", "--quiet"] if words[0] == "fit" else []
    assert run(*given, *more) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert said in error
    assert not (tmp_path / "m" / "model.safetensors").exists()


def test_options_of_a_file_and_held_out_images(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A TOML file with a size, bits, precision, and held-out images whose classes are some of the
    training ones.
    """
    held = tmp_path / "held"
    for name in ("class 1", "class 2"):
        shutil.copytree(folder / name, held / name)
    (tmp_path / "run.toml").write_text(
        'size = "tiny"\nprecision = "bfloat16"\n[model_args]\nwidth = 8\nsteps = 1\n'
    )
    out = tmp_path / "model"
    words = [
        "--valid",
        held,
        "--context",
        "label",
        "--bits",
        5,
        "--minutes",
        0.02,
        "--no-report",
        "--json",
    ]
    assert run("fit", folder, "--out", out, "--config", tmp_path / "run.toml", *words) == 0
    fitted = answer(capsys)
    assert fitted["rows"] == sum(1 for _ in held.rglob("*.png"))
    # the same images with the same numbers of classes
    assert run("evaluate", out, held, "--json") == 0
    assert answer(capsys)["bits_per_dim"] == pytest.approx(fitted["bits_per_dim"], abs=0.05)
    assert (
        run(
            "sample",
            out,
            "-n",
            6,
            "--class",
            "class 2",
            "--class",
            "class 1",
            "-o",
            tmp_path / "s.npz",
        )
        == 0
    )
    drawn = diffeo.read_images(tmp_path / "s.npz")
    assert drawn.bits == 5
    assert drawn.labels is not None
    assert [drawn.classes[k] for k in drawn.labels] == ["class 2", "class 1"] * 3
    np.savez(tmp_path / "plain.npz", images=np.zeros((4, 12, 10), np.uint8))
    assert (
        run(
            "fit",
            folder,
            "--out",
            tmp_path / "m",
            "--context",
            "label",
            "--valid",
            tmp_path / "plain.npz",
        )
        == 2
    )
    assert "plain.npz: no labels" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_a_class_conditional_model_interpolates(
    tmp_path: Path, by_class: Path, folder: Path
) -> None:
    # single files carry no label
    one, other = (sorted((folder / f"class {k}").iterdir())[0] for k in (0, 1))
    assert run("interpolate", by_class, one, other, "-o", tmp_path / "no.png") == 2
    assert (
        run("interpolate", by_class, one, other, "--class", "class 1", "-o", tmp_path / "strip.png")
        == 0
    )
    assert (
        run("interpolate", by_class, f"{folder}:0", f"{folder}:50", "-o", tmp_path / "labelled.png")
        == 0
    )


def test_colour_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "rgb.npz", images=rng.integers(0, 256, (20, 6, 8, 3)).astype(np.uint8))
    assert run("fit", tmp_path / "rgb.npz", "--out", tmp_path / "rgb", *QUICK) == 0
    assert (
        run("fit", tmp_path / "rgb.npz", "--out", tmp_path / "grey", "--colour", "grey", *QUICK)
        == 0
    )
    for name, shape in (("rgb", (3, 6, 8, 3)), ("grey", (3, 6, 8))):
        assert run("sample", tmp_path / name, "-n", 3, "-o", tmp_path / f"{name}-s.npz") == 0
        assert np.load(tmp_path / f"{name}-s.npz")["images"].shape == shape
        assert run("evaluate", tmp_path / name, tmp_path / "rgb.npz") == 0


def test_a_model_trained_in_python_knows_its_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = diffeo.read_images("sklearn:digits")
    flow = diffeo.models.glow(digits.event_shape, size="tiny", width=8, steps=1, bits=5, classes=10)
    diffeo.fit(flow, digits, steps=2, out=tmp_path / "model")
    some = np.flatnonzero(digits.labels >= 7)[:30]
    np.savez(
        tmp_path / "some.npz", images=digits.pixels[some, 0], labels=digits.labels[some], bits=5
    )
    assert run("evaluate", tmp_path / "model", tmp_path / "some.npz", "--json") == 0
    x, labels = digits.subset(some).tensors()
    wanted = diffeo.training.evaluate(flow, x, labels)
    assert answer(capsys)["nll"] == pytest.approx(wanted.nll, rel=1e-5)


def test_the_demo_of_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("diffeo.cli.demo.STEPS", {"digits": 3})
    assert run("demo", "digits", "--out", tmp_path, "--json") == 0
    assert answer(capsys)["samples"] == str(tmp_path / "samples.png")
    assert size(tmp_path / "samples.png")[0] == 10 * 66 + 2  # a column a class
    assert run("demo", "digits", "--seed", -1) == 2
    assert run("demo", "none") == 2
    assert "digits" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["glow", "realnvp", "flowpp"])
def test_resume_is_bit_exact(name: str, tmp_path: Path, folder: Path) -> None:
    """Stopped by a signal after some steps, resumed: the weights of an uninterrupted run. Flips,
    classes, padding, bfloat16.
    """
    words = [
        "--model",
        name,
        "--size",
        "tiny",
        "--context",
        "label",
        "--flips",
        "--precision",
        "bfloat16",
    ]
    fit = [
        "fit",
        str(folder),
        "--steps",
        "40",
        "--set",
        "eval_every=2",
        "--no-report",
        "--quiet",
        "--threads",
        "1",
    ]
    assert run(*fit, "--out", tmp_path / "whole", *words) == 0
    command = [sys.executable, "-m", "diffeo", *fit, "--out", str(tmp_path / "halves"), *words]
    with subprocess.Popen(command) as process:
        while not (tmp_path / "halves" / "samples" / "0000012.png").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 143
    assert run("fit", folder, "--out", tmp_path / "halves", "--resume", "--quiet") == 0
    states = [load_file(tmp_path / part / "model.safetensors") for part in ("whole", "halves")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    lines = [(tmp_path / part / "metrics.jsonl").read_text() for part in ("whole", "halves")]
    assert lines[0] == lines[1]


def test_resume_finds_the_decoded_folder(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    words = [
        "--size",
        "tiny",
        "--set",
        "width=8",
        "--set",
        "model.steps=1",
        "--no-report",
        "--quiet",
    ]
    assert run("fit", folder, "--out", out, "--steps", 6, *words) == 0
    decoded = [(path, path.stat().st_mtime_ns) for path in sorted((out / "cache").iterdir())]
    assert decoded
    assert run("fit", folder, "--out", out, "--steps", 12, "--resume", "--quiet") == 0
    assert [
        (path, path.stat().st_mtime_ns) for path in sorted((out / "cache").iterdir())
    ] == decoded
    assert json.loads((out / "options.json").read_text())["model"] == "glow"
    assert run("fit", folder, "--out", out, "--resume", "--quiet", "--set", "width=9") == 2
    assert "width was 8 and is now 9" in capsys.readouterr().err
