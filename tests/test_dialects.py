# ruff: noqa: RUF043
"""How a text table is read: what is found out, what is said of it, and what is refused because it
could be read in two ways.
"""

from __future__ import annotations

import gzip
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffeo.core.errors import ConfigError, DataError
from diffeo.data import Column, Schema, read_table
from diffeo.data.tables.marks import Marks

COUNTS = [
    943,
    76586,
    1234567,
    17,
    1000,
    90210,
    512,
    6,
    20000,
    31415,
    27182,
    16180,
    14142,
    17320,
    22360,
    26457,
]
SEPARATED = {
    "comma": ",",
    "dot": ".",
    "space": " ",
    "apostrophe": "'",
    "underscore": "_",
    "no-break space": "\u00a0",
}


def save(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def table_of(rows: list[list[str]], delimiter: str) -> str:
    return "\n".join(delimiter.join(row) for row in rows) + "\n"


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("separator", SEPARATED)
@pytest.mark.parametrize("largest", [10**9, 99_999], ids=["with a million", "without"])
def test_thousands_are_read_whole(
    delimiter: str, separator: str, largest: int, tmp_path: Path
) -> None:
    counts = [n for n in COUNTS if n <= largest]
    rows = [
        ["pop", "n"],
        *([f"{n:,}".replace(",", SEPARATED[separator]), str(i)] for i, n in enumerate(counts)),
    ]
    table = read_table(save(tmp_path, table_of(rows, delimiter)))
    assert table.values[:, 0].tolist() == counts
    word = "space" if separator == "no-break space" else separator
    assert f"thousands={word}," in table.reading[0]
    assert table.schema.supports[0] == "integer"


def test_thousands_in_quotes_in_a_comma_file_and_german_money(tmp_path: Path) -> None:
    quoted = save(tmp_path, "pop,n\n" + "".join(f'"{n:,}",{i}\n' for i, n in enumerate(COUNTS)))
    assert read_table(quoted).values[:, 0].tolist() == COUNTS
    german = save(tmp_path, "Preis;n\n1.234,50;1\n-12,25;2\n1.000.000,00;3\n")
    assert read_table(german).values[:, 0].tolist() == [1234.5, -12.25, 1e6]


TWO_WAYS = {
    "comma": (
        "a\tb\n1,234\t1\n5,678\t2\n",
        ["'1,234'", "1.234", "1234", "decimal=comma,", "decimal=dot,thousands=comma"],
        1234.0,
    ),
    "dot": (
        "a;b\n1.234;1\n5.678;2\n",
        ["'1.234'", "decimal=dot,thousands=none", "decimal=comma,thousands=dot"],
        1234.0,
    ),
    "dot, far down": (
        "a;b\n" + "5;1\n" * 1200 + "1.234;1\n",
        ["line 1202", "'1.234'", "thousands=dot"],
        1234.0,
    ),
}


@pytest.mark.parametrize("case", TWO_WAYS)
def test_what_can_be_read_in_two_ways_is_refused_with_both(case: str, tmp_path: Path) -> None:
    text, words, grouped = TWO_WAYS[case]
    path = save(tmp_path, text)
    with pytest.raises(DataError) as caught:
        read_table(path, drop=["b"])
    for word in ("'a'", *words):
        assert word in str(caught.value)
    plain = "decimal=comma,thousands=none" if case == "comma" else "decimal=dot"
    other = "decimal=dot,thousands=comma" if case == "comma" else "thousands=dot"
    assert read_table(path, drop=["b"], dialect=plain).values.max() in (5.678, 5.0)
    assert read_table(path, drop=["b"], dialect=other).values.max() in (5678.0, grouped)
    # an unused column costs nothing
    assert len(read_table(path, drop=["a"]).values) > 0 if case != "dot, far down" else True


@pytest.mark.parametrize("far", [0, 1200])
def test_a_dot_that_is_no_separator_settles_it(far: int, tmp_path: Path) -> None:
    path = save(tmp_path, "a;b\n" + "5;1\n" * far + "1.234;2\n12.5;3\n")
    assert read_table(path).values[far:, 0].tolist() == [1.234, 12.5]


def test_a_few_odd_cells_are_rejects_and_not_another_dialect(tmp_path: Path) -> None:
    path = save(tmp_path, "a\tb\n" + "".join(f"{i}\t{i}.5\n" for i in range(900)) + "1,234\t0.5\n")
    table = read_table(path)
    assert (table.intake.kept, table.intake.rejected) == (900, 1) or table.values[-1, 0] == 1234


ABOVE = [
    "A title\n",
    "# made by hand\n",
    "# a; b, c\n\n",
    "Survey of 2020, by area; all\n\n",
    "sep=,\n",
    "Title,\n# x\n",
]


@pytest.mark.parametrize("above", ABOVE[:5])
def test_lines_above_the_header_are_named_and_not_read(above: str, tmp_path: Path) -> None:
    table = read_table(save(tmp_path, above + "a,b\n1,7\n2,9\n3,8\n"))
    assert table.schema.names == ("a", "b")
    assert table.values.tolist() == [[1, 7], [2, 9], [3, 8]]
    assert table.lines[0] == above.count("\n") + 2
    assert above.split("\n")[0] in " ".join(table.reading)


def test_the_header_of_savetxt_is_read(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "t.csv", [[1.5, 2.5], [3.5, 4.5]], delimiter=",", header="a,b")
    assert read_table(tmp_path / "t.csv").schema.names == ("a", "b")


def test_a_first_row_is_not_taken_for_names(tmp_path: Path) -> None:
    flowers = save(tmp_path, "5.1,3.5,setosa\n4.9,3.0,setosa\n6.1,2.9,other\n")
    with pytest.raises(DataError, match="no header") as caught:
        read_table(flowers, drop=["setosa"])
    assert "dialect='header=none'" in str(caught.value)
    assert read_table(flowers, drop=["x2"], dialect="header=none").values[0].tolist() == [5.1, 3.5]
    years = save(tmp_path, "country,2019,2020\nA,1.5,2\nB,2.5,4\n")
    assert read_table(years, drop=["country"]).schema.names == ("2019", "2020")


def test_two_numbers_or_one_below_a_title(tmp_path: Path) -> None:
    path = save(tmp_path, "Results\n1,7\n2,9\n")
    with pytest.raises(DataError, match="two ways"):
        read_table(path)
    assert read_table(path, dialect="delimiter=;,decimal=comma").values.ravel().tolist() == [
        1.7,
        2.9,
    ]
    assert read_table(save(tmp_path, "x\n1,05\n2,9\n")).values.ravel().tolist() == [1.05, 2.9]


def test_every_part_of_a_dialect_can_be_said_and_is_repeated(tmp_path: Path) -> None:
    text = "junk;junk\ngröße;b\n1.000,5;2\n-;3\n2,5;4\n\n3,5;x\n"
    said = (
        "delimiter=semicolon,decimal=comma,thousands=dot,encoding=iso8859-1,header=2,missing=NA|-"
    )
    table = read_table(save(tmp_path, text.encode("latin-1")), dialect=said, max_bad=1)
    assert table.schema.names[0] == "größe"
    assert table.values[:, 0].tolist() == [1000.5, 2.5]
    assert table.reading == (
        f"read with dialect={said!r}",
        "not read, above the header: 'junk;junk'",
        "not read: 1 blank lines",
    )
    assert (table.intake.rejected, table.intake.nonfinite) == (1, 1)
    assert f"  read with dialect={said!r}" in table.describe()


@pytest.mark.parametrize(
    "said",
    ["x", "delimiter=", "delimiter=ab", "decimal=space", "decimal=dot,thousands=dot",
    "encoding=klingon", "encoding=zlib", "header=0",
     "header=-1", "header=two", "delimter=;", "header=1,header=2"],
)  # fmt: skip
def test_a_dialect_that_is_none(said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dialect") as caught:
        read_table(save(tmp_path, "a,b\n1,2\n"), dialect=said)
    assert "\n" not in str(caught.value)


def test_a_dialect_is_for_text_tables(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.eye(3))
    for source in (np.eye(3), tmp_path / "t.npy"):
        with pytest.raises(ConfigError, match="for text tables"):
            read_table(source, dialect="decimal=comma")


def test_numeric_missing_markers_with_blanks_around(tmp_path: Path) -> None:
    table = read_table(
        save(tmp_path, "a,b\n1, -999\n-999,3\n4,5\n6, ?\n"), dialect="missing=-999|?", max_bad=1
    )
    assert table.values.tolist() == [[4, 5]]
    assert (table.intake.nonfinite, table.intake.rejected) == (3, 0)


@pytest.mark.parametrize(
    "cell", ["+-1", "-+1", "+-.5", "+-inf", "1_0", "1__000", "12_34", "0x10", "１２", "1,5", "−5"]
)
def test_cells_that_are_no_numbers(cell: str, tmp_path: Path) -> None:
    path = save(tmp_path, "a,b\n" + "1,2.5\n" * 200 + f'1,"{cell}"\n' + "1.5,2\n" * 200)
    table = read_table(
        path,
        rejects=tmp_path / "bad.csv",
        schema=Schema(columns=(Column(name="a"), Column(name="b"))),
    )
    assert table.intake.kept == 400
    assert (tmp_path / "bad.csv").read_text().splitlines()[1].startswith("202,b,not a number,")


def test_a_missing_dash_is_no_minus(tmp_path: Path) -> None:
    cells = ["5", "-", "- 1", "-7", "8", "--"] * 300
    path = save(tmp_path, "a\n" + "\n".join(f'"{c}"' for c in cells))
    table = read_table(path, dialect="delimiter=comma,missing=-", max_bad=1)
    assert table.values.ravel().tolist() == [5, -7, 8] * 300
    assert (table.intake.nonfinite, table.intake.rejected) == (300, 600)


def test_many_and_few_bad_rows_are_read_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffeo.data.tables import cells

    body = "".join(
        f"{i}, NA ,{i % 2 == 0},x\n" + f'{i},2.5,{"maybe" if i % 7 else "TRUE"},"a\nb"\n'
        for i in range(99)
    )
    path, seen = save(tmp_path, "a,b,flag,s\n1,2,true,y\n" + "2,3,false,z\n" * 1100 + body), []
    for few in (0, 10_000):
        monkeypatch.setattr(cells, "FEW", few)
        table = read_table(path, drop=["s"], max_bad=1, rejects=tmp_path / "bad.csv")
        seen.append(
            (table.values.tolist(), table.lines.tolist(), (tmp_path / "bad.csv").read_text())
        )
    assert seen[0] == seen[1]
    assert "flag,not a number" in seen[0][2]


def test_the_column_that_fails_is_blamed(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i + 0.5},{'x' if i % 5 else 0.5}\n" for i in range(300))
    with pytest.raises(DataError, match="column 'c'") as caught:
        read_table(save(tmp_path, "a,b,c\n" + rows))
    assert "'a'" not in str(caught.value)
    assert "drop=['c']" in str(caught.value)
    few = "".join(f"{i},{i + 0.5},{'x' if i > 500 else 0.5}\n" for i in range(1000))
    with pytest.raises(DataError, match="499 × column 'c': not a number"):
        read_table(save(tmp_path, "a,b,c\n" + few))


def test_a_bad_cell_beside_text_of_several_lines(tmp_path: Path) -> None:
    body = 'x,note,y\n1.5,"first\nsecond, of two",10\n2.5,"a\nb",oops\n3.5,"c\n\nd",30\n'
    table = read_table(
        save(tmp_path, body), drop=["note"], max_bad=0.5, rejects=tmp_path / "bad.csv"
    )
    assert table.values.tolist() == [[1.5, 10], [3.5, 30]]
    assert table.lines.tolist() == [2, 6]
    assert '4,y,not a number,"2.5,' in (tmp_path / "bad.csv").read_text()
    swallowed = 'x,note,y\n1,a,2\n2,"b,3\n3,c,4\n4,d",5\n5,e,6\n'
    with pytest.raises(DataError, match="line 3: a quote .* closes only on line 5"):
        read_table(save(tmp_path, swallowed), drop=["note"])


def test_blank_lines_of_one_column_are_empty_cells(tmp_path: Path) -> None:
    table = read_table(save(tmp_path, "a\n\n1.5\n\n2.5\n\n\n"), max_bad=0.5)
    assert (table.intake.total, table.intake.nonfinite) == (4, 2)
    assert list(table.intake.reasons) == ["column 'a': empty, NaN or infinite"]


def test_a_blank_line_before_a_bad_row(tmp_path: Path) -> None:
    path = save(tmp_path, "a\n1\n2\n3\n\n1|2\n+-1|2\n5\n\n+-1|2\n6\n")
    read_table(path, dialect="delimiter=bar", max_bad=1, rejects=tmp_path / "bad.csv")
    lines = [line.split(",")[:2] for line in (tmp_path / "bad.csv").read_text().splitlines()[1:]]
    assert lines == [["5", "a"], ["6", ""], ["7", ""], ["9", "a"], ["10", ""]]


def test_advice_fits_whoever_reads(tmp_path: Path) -> None:
    schema = Schema(columns=(Column(name="a"), Column(name="s")))
    text = save(tmp_path, "a,s\n1,x\n2,y\n")
    empty = save(tmp_path, "a,s\n1,\n2,\n", "e.csv")
    one = save(tmp_path, "a,s\n1,2\n2,\n", "o.csv")
    for path in (text, empty):
        with pytest.raises(DataError, match="'s'.*the model needs numbers there") as caught:
            read_table(path, schema=schema)
        assert "drop=" not in str(caught.value)
    with pytest.raises(DataError, match=r"max_bad=0\.5"):
        read_table(one, schema=schema)
    with pytest.raises(DataError, match="mend them") as caught:
        read_table(one, schema=schema, max_bad=0)
    assert "max_bad" not in str(caught.value)


def test_marks_agree_with_float() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        cell = "".join(rng.choice("0123456789+-._eE ,naif") for _ in range(rng.randint(1, 8)))
        value = Marks().value(cell)
        try:
            truth = float(cell) if "_" not in cell else None
        except ValueError:
            truth = None
        assert repr(value) == repr(truth), cell


HOSTILE: dict[str, Any] = {
    "line ends": lambda: gzip.compress(b"a,b\n1,2\n" + b"\n" * 60_000_000, 6),
    "empty rows": lambda: gzip.compress(b"a,b\n" + b",\n" * 30_000_000, 6),
    "one line": lambda: gzip.compress(b"a,b\n" + b"1," * 30_000_000, 6),
    "gzip of gzip": lambda: gzip.compress(gzip.compress(b"a,b\n1,2\n")),
    "cut": lambda: gzip.compress(b"".join(b"%d,%d\n" % (i, i * i) for i in range(50_000)))[:-900],
    "header of a megabyte": lambda: b",".join(b"c%d" % i for i in range(400_000)),
    "columns": lambda: b",".join(b"c%d" % i for i in range(60_000)) + b"\n1,2\n",
    "NUL bytes": lambda: b"a,b\n1,2\n\x003,4\n",
}
CHILD = """
import sys, time
from diffeo.data import read_table
from diffeo.core.errors import DataError
def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])
before = peak()
try:
    read_table(sys.argv[1])
except DataError as error:
    print(str(error).replace(sys.argv[1], "FILE"))
print(peak() - before)
"""


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_hostile_files_are_refused_in_one_line_and_little_memory(case: str, tmp_path: Path) -> None:
    path = save(tmp_path, HOSTILE[case](), "t.csv.gz" if "head" not in case else "t.csv")
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    words, grown = done.stdout.splitlines()
    assert words.startswith("FILE: ")
    assert len(words) < 400
    assert int(grown) < 256 << 10
