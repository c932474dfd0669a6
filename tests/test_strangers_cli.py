"""Model folders from strangers at the command: one line and exit code 2, and nothing that a
terminal would act on.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import diffeo
from diffeo.cli.output import emit, say
from diffeo.cli.progress import _bar
from diffeo.store import CONFIG, MANIFEST, WEIGHTS
from diffeo.training import Progress, print_progress
from test_cli import answer, run
from test_strangers import seal

VERBS: dict[str, Callable[[Path, Path], tuple[object, ...]]] = {
    "info": lambda folder, data: ("info", folder),
    "sample": lambda folder, data: ("sample", folder, "-n", 3, "-o", data.parent / "out.npz"),
    "evaluate": lambda folder, data: ("evaluate", folder, data),
    "score": lambda folder, data: ("score", folder, data, "-o", data.parent / "out.csv"),
    "check": lambda folder, data: ("check", folder, data),
}
ESCAPES = {
    "colours": "\x1b[31mred",
    "clears the screen": "\x1b[2J\x1b[H",
    "sets the title": "\x1b]0;title\x07",
    "eight-bit": "\x9b31m",
    "returns": "a\rb",
    "backs up": "a\b\bb",
    "right to left": "\u202ea",
    "another line": "a\ndiffeo: all is well",
    "markup": "[bold red]a[/] [link=http://x]b",
    "markup left open": "[/nothing]",
}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text("x0,x1\n" + "\n".join(f"{i / 10},{i % 7}.5" for i in range(20)) + "\n")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound model of tables."""
    return diffeo.save(diffeo.models.nsf((2,), layers=1, hidden=(4,)), tmp_path / "model")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)).save(path)
    return path


def of_images(place: Path, **options: Any) -> Path:
    return diffeo.save(
        diffeo.models.nice((1, 4, 4), size="tiny", width=4, layers=2, depth=1, **options), place
    )


def change(folder: Path, **changes: Any) -> None:
    """Other values in config.json, with a manifest that agrees."""
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | changes))
    seal(folder)


def note(folder: Path, **metadata: Any) -> None:
    change(folder, metadata=metadata)


def refusal(words: tuple[object, ...], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says of a folder that it refuses: one printable line, and nothing on
    stdout.
    """
    assert run(*words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith("\n")
    line = said.err[:-1]
    assert line.isprintable()
    assert line.startswith("diffeo: ")
    assert len(line) < 1_000
    return line


def flipped(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)


def broken_off(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-5])


def too_large(folder: Path) -> None:
    change(folder, args={"event_shape": [10**9], "layers": 10**9})


def not_finite(folder: Path) -> None:
    flow = diffeo.load(folder)
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-4:] = torch.tensor([torch.nan]).numpy().tobytes()
    assert flow.dtype == torch.float32
    (folder / WEIGHTS).write_bytes(content)
    seal(folder)


def of_pickle(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"\x80\x04\x95" + bytes(50))
    seal(folder)


def linked(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "elsewhere")
    (folder / WEIGHTS).symlink_to("elsewhere")


BAD: dict[str, Callable[[Path], object]] = {
    "weights changed": flipped,
    "weights cut short": broken_off,
    "weights that are not finite": not_finite,
    "a pickle": of_pickle,
    "a link": linked,
    "larger than its weights": too_large,
    "another model": lambda folder: change(folder, model="os.system"),
    "a model with escapes": lambda folder: change(folder, model="\x1b[2J[bold]"),
    "a newer format": lambda folder: change(folder, format=99),
    "no JSON": lambda folder: (folder / CONFIG).write_text("[" * 1_000) and seal(folder),
    "no configuration": lambda folder: (folder / CONFIG).unlink(),
    "a manifest of other files": (
        lambda folder: (folder / MANIFEST).write_text('{"format": 1, "files": {"/etc/passwd": ""}}')
    ),
    "nothing": lambda folder: [path.unlink() for path in folder.iterdir()],
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_folder_is_one_line(
    kind: str,
    verb: str,
    folder: Path,
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from diffeo.store import folder as files

    monkeypatch.setattr(files, "ABSENCE", 0.01)
    BAD[kind](folder)
    assert str(folder) in refusal(VERBS[verb](folder, table), capsys)


OF_TABLES: dict[str, dict[str, Any]] = {
    "training of text": {"training": "much"},
    "a list of training": {"training": []},
    "a number as source": {"source": 5},
    "images as a list": {"images": []},
    "unknown notes of images": {"images": {"stranger": 1}},
    "a schema of text": {"schema": "a, b"},
    "a schema of other columns": {"schema": {"columns": [{"name": "a"}]}},
    "a schema of a context": {
        "schema": {"columns": [{"name": "a"}, {"name": "b"}], "context": [{"name": "c"}]}
    },
    "a name twice": {"schema": {"columns": [{"name": "a"}, {"name": "a"}]}},
    "an unknown support": {
        "schema": {"columns": [{"name": "a", "support": "\x1b[2J"}, {"name": "b"}]}
    },
    "an unknown key": {"schema": {"columns": [{"name": "a"}, {"name": "b", "\x1b[2J": 1}]}},
    "a constant of text": {
        "schema": {"columns": [{"name": "a"}, {"name": "b"}], "set_aside": {"c": "x"}}
    },
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", OF_TABLES)
def test_notes_that_do_not_fit_a_table_are_one_line(
    kind: str, verb: str, folder: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note(folder, **OF_TABLES[kind])
    refusal(VERBS[verb](folder, table), capsys)


OF_IMAGES: dict[str, dict[str, Any]] = {
    "other bits": {"bits": 3},
    "bits of text": {"bits": "8"},
    "no bits at all": {"bits": -1},
    "classes of numbers": {"classes": [1, 2, 3]},
    "classes that are too few": {"classes": ["a"]},
    "a class twice": {"classes": ["a", "a", "b"]},
    "another size": {"resize": "5x4"},
    "a size beyond memory": {"resize": "9999999x9999999"},
    "a size of many digits": {"resize": "9" * 5_000},
    "a size of text": {"resize": "\x1b[2J"},
    "depth of text": {"depth": "12"},
    "a depth that no file has": {"depth": 99},
    "an unknown key": {"\x1b[2J": 1},
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", OF_IMAGES)
def test_notes_that_do_not_fit_images_are_one_line(
    kind: str, verb: str, tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = of_images(tmp_path / "model", classes=3)
    note(folder, images=OF_IMAGES[kind])
    assert "metadata" in refusal(VERBS[verb](folder, image), capsys)


@pytest.mark.parametrize("json_too", [False, True])
@pytest.mark.parametrize("kind", ESCAPES)
def test_info_shows_what_strangers_wrote_and_does_nothing_else(
    kind: str, json_too: bool, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ESCAPES[kind]
    columns = [{"name": words}, {"name": f"{words} too"}]
    note(
        folder,
        source=words,
        training={words: words, "rows": {words: [words]}},
        schema={"columns": columns, "set_aside": {f"{words} aside": 1.0}},
    )
    assert run("info", folder, *["--json"] * json_too) == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out[:-1].split("\n")
    assert all(line.isprintable() for line in lines)
    if json_too:
        assert json.loads(lines[0])["source"] == words
    else:
        assert len(lines) == 10
        assert words.split("\x1b")[0].split("\n")[0] in said.out or not words.isprintable()


@pytest.mark.parametrize("kind", ESCAPES)
def test_names_of_strangers_in_refusals_and_notes_are_shown_as_text(
    kind: str, folder: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A column that the data do not have, one read, and a constant beside them."""
    words = ESCAPES[kind]
    note(folder, schema={"columns": [{"name": words}, {"name": "x1"}]})
    refusal(("evaluate", folder, table), capsys)
    quoted = '"' + words.replace('"', '""') + '"'
    table.write_text(table.read_text().replace("x0", quoted, 1).replace("0.3", "oops", 1))
    run("evaluate", folder, table, "--max-bad", 0.5)
    said = capsys.readouterr()
    assert all(line.isprintable() for line in (said.out + said.err).split("\n"))
    assert run("sample", folder, "-n", 3, "-o", table.parent / "out.csv") == 0
    assert capsys.readouterr().out.isascii()


@pytest.mark.parametrize("classes", [["a", "b", "c"], []])
def test_notes_that_fit_images_are_taken(
    classes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also the depth, which the command notes only where it was given."""
    folder = of_images(tmp_path / "model", classes=3)
    note(folder, images={"bits": 8, "classes": classes, "resize": "4", "depth": 12})
    assert run("info", folder, "--json") == 0
    assert answer(capsys)["images"] == {
        "channels": 1,
        "height": 4,
        "width": 4,
        "bits": 8,
        "classes": classes or ["0", "1", "2"],
        "resize": "4",
        "depth": 12,
    }


def test_a_model_of_16_bit_files_can_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, model = tmp_path / "data", tmp_path / "model"
    data.mkdir()
    rng = np.random.default_rng(0)
    for i in range(30):
        Image.fromarray(rng.integers(4096, size=(4, 4)).astype(np.uint16)).save(data / f"{i}.png")
    options = (
        "--depth",
        12,
        "--model",
        "nice",
        "--size",
        "tiny",
        "--steps",
        2,
        "--no-report",
        "--quiet",
    )
    assert run("fit", data, "--out", model, *options) == 0
    for verb in VERBS.values():
        assert run(*verb(model, data)) == 0, capsys.readouterr().err


@pytest.mark.parametrize("kind", ESCAPES)
def test_whatever_the_command_writes_is_text(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines for people, refusals, training's lines and the bar on a terminal, whose brackets are no
    markup.
    """
    words = ESCAPES[kind]
    progress = Progress(0, 1.0, 0.0, None, 0.0, note=words)
    say(words)
    emit({}, False, [words])
    print_progress()(progress)
    assert run("info", tmp_path / words.replace("/", "")) == 2
    said = capsys.readouterr()
    assert all(line.isprintable() for line in (said.out + said.err).split("\n"))
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with _bar() as tell:
        tell(progress)
    assert all(line.isprintable() for line in screen.getvalue().split("\n"))
    assert words in screen.getvalue() or not words.isprintable()
