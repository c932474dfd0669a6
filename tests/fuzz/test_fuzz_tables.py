"""Tables of every make, read as diffeo does and as Python's csv module and float() do: the same
bits, or a row in the rejects.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import math
import random
import re
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from diffeo.core.errors import DataError
from diffeo.data import Column, Schema, read_table
from diffeo.data.tables import records as records_module

WORDS = {
    ",": "comma",
    ".": "dot",
    " ": "space",
    "'": "apostrophe",
    "_": "underscore",
    ";": "semicolon",
    "\t": "tab",
    "|": "bar",
}
MISSING = ("NA", "N/A", "n/a", "NULL", "null", "None", "none")
ODD = [
    "1e400", "-1e400", "1e-400", "5e-324", "-0", "+1.5", ".5", "5.", "00012", "1E5", "1e+5",
    "1.5e-3", "nan", "NaN", "-inf", "Infinity",
    "0x10", "1__0", "1_0", "_1", "1_", "+-1", "-+1", "--1", "++1", "+-.5", "+-inf", "1e", "1e+-5",
    "e5", ".", "-", "+", "- 1", "1 2",
    "１２", "١", "−5", "\u00a05", "5%", "$5", "1.2.3", "1,2,3", "12,34", "1.23.456", "1f", "1d5",
    "0b1", "true", "abc", "x" * 300,
    "9" * 400, "0." + "0" * 400 + "1", "#N/A", "?", " 5 ", "\t5", "  ", "", "NA", " NA", "null",
    "None", "na", "-NA", "∞", "é",
]  # fmt: skip


@dataclass
class Made:
    """A table as bytes, how it was made, and the words that say so."""

    content: bytes
    text: str
    names: list[str]
    delimiter: str
    decimal: str
    thousands: str
    missing: tuple[str, ...]
    header: int
    used: list[str]
    spec: str
    suffix: str
    clean: bool


def grouped(whole: str, mark: str) -> str:
    """The digits of a whole number in groups of three."""
    sign, digits = (whole[0], whole[1:]) if whole[0] in "+-" else ("", whole)
    return sign + f"{int(digits):,}".replace(",", mark) if mark else whole


def written(rng: random.Random, kind: str, decimal: str, thousands: str) -> str:
    """A number as a table may hold it."""
    if kind == "small":
        return str(rng.randint(-50, 999))
    if kind == "count":
        return grouped(str(rng.choice([rng.randint(0, 999), rng.randint(1000, 10**7)])), thousands)
    if kind == "money":
        return (
            grouped(str(rng.randint(-99_999, 10**6)), thousands)
            + decimal
            + f"{rng.randint(0, 99):02}"
        )
    if kind == "fixed":
        value = f"{rng.gauss(0, 10):.{rng.choice([1, 3, 6])}f}"
    elif kind == "short":
        value = f"{rng.gauss(0, 1e4):.{rng.randint(1, 17)}g}"
    elif kind == "bits":
        value = repr(struct.unpack("d", rng.randbytes(8))[0])
    else:
        whole = rng.getrandbits(60)
        decimals = rng.getrandbits(rng.choice([8, 64, 150]))
        value = f"{whole}.{decimals}e{rng.randint(-330, 290)}"
    return value.replace(".", decimal)


def quote(rng: random.Random, cell: str, style: str, delimiter: str) -> str:
    """A cell as CSV: quoted where it must be, and else according to the style."""
    must = any(c in cell for c in (delimiter, "\n", "\r")) or cell.startswith('"')
    if must or style == "all" or (style == "some" and rng.random() < 0.3):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def make(seed: int) -> Made:
    rng = random.Random(seed)
    delimiter = rng.choice([",", ",", ";", "\t", "|"])
    decimal = rng.choice([".", ".", "."] if delimiter == "," and rng.random() < 0.8 else [".", ","])
    thousands = rng.choice(["", "", "", *(mark for mark in ",. '_" if mark != decimal)])
    if thousands == "." and delimiter == ",":
        thousands = ""
    width, rows = rng.choice([1, 2, 2, 3, 4, 6]), rng.choice([1, 2, 5, 12, 30, 80, 80, 1300])
    kinds = [
        rng.choice(["small", "count", "money", "fixed", "short", "bits", "long"])
        for _ in range(width)
    ]
    names = [f"{rng.choice(['a', 'wert', 'größe', 'the name', 'x,y'])}{j}" for j in range(width)]
    style = rng.choice(["none", "none", "all", "some"])
    dirt = rng.choice([0.0, 0.0, 0.02, 0.1])
    custom = rng.random() < 0.2
    missing = ("-", "?", "-999") if custom else MISSING
    note = width > 1 and rng.random() < 0.2
    newline = rng.choice(["\n", "\n", "\r\n", "\r"])

    prologue = []
    if rng.random() < 0.2:
        prologue.append(
            rng.choice(
                [
                    "# made by hand",
                    "# 1,2;3",
                    "A title",
                    "Survey of 2020: all",
                    "# a | b",
                    "sep=" + delimiter,
                ]
            )
        )
        if rng.random() < 0.3 and not prologue[0].startswith("sep"):
            prologue.append("")
    shown = [*names, "note"] if note else names
    lines = [delimiter.join(quote(rng, n, style, delimiter) for n in shown)]
    clean = dirt == 0.0
    for _ in range(rows):
        cells = [written(rng, kind, decimal, thousands) for kind in kinds]
        if rng.random() < dirt:
            cells[rng.randrange(width)] = rng.choice([*ODD, *missing])
        padded = [f" {c} " if rng.random() < 0.02 else c for c in cells]
        fields = [quote(rng, c, style, delimiter) for c in padded]
        if note:
            fields.append(
                quote(
                    rng,
                    rng.choice(
                        ["hello", "", 'she said "hi"', "two\nlines", "a,b;c|d\te", "5'10\""]
                    ),
                    style,
                    delimiter,
                )
            )
        if rng.random() < dirt / 4:
            fields = rng.choice([[*fields, "7"], fields[:-1] or ["1", "2"]])
        lines.append(delimiter.join(fields))
        if rng.random() < 0.01 and width > 1:
            lines.append("")
    text = "\n".join([*prologue, *lines]) + "\n" * rng.choice([0, 1, 1, 3])
    text = text.replace("\n", newline)
    encoding = rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32"])
    latin = text.encode("cp1252", "ignore").decode("cp1252") == text and rng.random() < 0.3
    if latin:
        encoding = "cp1252"
    content = text.encode(encoding)
    if encoding == "utf-16" and rng.random() < 0.3 and all(ord(c) < 256 for c in text):
        content, encoding = content.removeprefix(codecs.BOM_UTF16_LE), "utf-16-le"
    packed = rng.random() < 0.1
    grouping = WORDS[thousands] if thousands else "none"
    marks = f"delimiter={WORDS[delimiter]},decimal={WORDS[decimal]},thousands={grouping}"
    spec = f"{marks},encoding={encoding},header={len(prologue) + 1},missing={'|'.join(missing)}"
    guessable = width > 1 and rows > 2 and (decimal == "." or not {*kinds} <= {"small", "count"})
    if guessable and not custom and rng.random() < 0.6:
        spec = ""
    elif guessable and custom and rng.random() < 0.5:
        spec = f"missing={'|'.join(missing)}"
    return Made(
        gzip.compress(content) if packed else content, text, shown, delimiter, decimal, thousands,
        missing, len(prologue) + 1,
        names, spec, ".csv.gz" if packed else ".csv", clean,
    )  # fmt: skip


def meaning(cell: str, made: Made) -> float | None:
    """The number in a cell as float() has it, NaN where it is missing, None for what is no
    number.
    """
    cell = cell.strip(" \t\n\v\f\r")
    if cell in ("", *made.missing):
        return math.nan
    if not cell.isascii():
        return None
    whole, mark, rest = cell.partition(made.decimal)
    if made.decimal == "," and "." in whole + rest and made.thousands != ".":
        return None
    if made.thousands and made.thousands in whole:
        groups = whole.lstrip("+-").split(made.thousands)
        proper = re.fullmatch("[1-9][0-9]{0,2}", groups[0]) and all(
            re.fullmatch("[0-9]{3}", g) for g in groups[1:]
        )
        if not proper or (rest and not rest.isdigit()):
            return None
        whole = whole.replace(made.thousands, "")
    plain = whole + ("." if mark else "") + rest
    if (
        "_" in plain
        or (made.thousands and made.thousands in rest)
        or (made.decimal == "," and "." in rest)
    ):
        return None
    try:
        return float(plain)
    except ValueError:
        return None


def expected(made: Made) -> list[tuple[int, str, str, list[float | None]]]:
    """For each record of the body: its line, the column and reason of a row that is bad, and its
    numbers.
    """
    text = made.text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    lines = text.split("\n")[made.header - 1 :]
    reader = csv.reader(io.StringIO("\n".join(lines), newline=""), delimiter=made.delimiter)
    next(reader)
    found, line = [], made.header + reader.line_num
    for fields in reader:
        at, line = line, made.header + reader.line_num
        if not fields and len(made.names) > 1:
            continue
        fields = fields or [""]
        if len(fields) != len(made.names):
            found.append((at, "", "wrong number of fields", []))
            continue
        values = [meaning(fields[made.names.index(n)], made) for n in made.used]
        worst = next((made.used[j] for j, v in enumerate(values) if v is None), None)
        poor = next(
            (made.used[j] for j, v in enumerate(values) if v is not None and not math.isfinite(v)),
            None,
        )
        reason = (
            "not a number"
            if worst is not None
            else "empty, NaN or infinite"
            if poor is not None
            else ""
        )
        found.append((at, worst or poor or "", reason, values))
    return found


def judge(seed: int, folder: Path) -> str:
    """`read` or the reason of a refusal; raises AssertionError for a table that was read
    wrongly.
    """
    made = make(seed)
    path = folder / f"t{made.suffix}"
    path.write_bytes(made.content)
    rows = expected(made)
    schema = Schema(columns=tuple(Column(name=n) for n in made.used))
    try:
        table = read_table(
            path, schema=schema, max_bad=1, rejects=folder / "bad.csv", dialect=made.spec or None
        )
    except DataError as error:
        words = str(error)
        assert "\n" not in words
        assert words.startswith(f"{path}: ")
        return re.sub(r"'[^']*'|[0-9,.]+", "", words.removeprefix(f"{path}: "))[:60]
    with (folder / "bad.csv").open(newline="", encoding="utf-8") as file:
        bad = [(int(r["line"]), r["column"], r["reason"]) for r in csv.DictReader(file)]
    assert bad == [(line, column, reason) for line, column, reason, _ in rows if reason]
    good = [(line, values) for line, _, reason, values in rows if not reason]
    assert table.lines.tolist() == [line for line, _ in good]
    truth = np.array([values for _, values in good], dtype=np.float64).reshape(
        len(good), len(made.used)
    )
    assert (table.values.view(np.uint64) == truth.view(np.uint64)).all()
    assert table.intake.total == len(rows)
    assert len(table.reading) >= 1
    return "read"


def test_every_cell_is_the_same_number_or_its_row_is_rejected(
    count: Callable[[int, int], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts: Counter[str] = Counter()
    wrong = []
    for seed in range(count(120, 6000)):
        monkeypatch.setattr(
            records_module, "CHUNK", [50, 333, 8 << 20][seed % 3] if seed % 5 == 0 else 8 << 20
        )
        try:
            verdicts[judge(seed, tmp_path)] += 1
        except AssertionError as error:
            wrong.append((seed, str(error)[:300]))
    print(verdicts.most_common())
    assert not wrong
    assert verdicts["read"] > 0.6 * verdicts.total()
