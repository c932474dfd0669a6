"""Tables: every row of every kind of source is accounted for, and bad input gets one worded
line.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffeo.core.errors import ConfigError, DataError
from diffeo.data import (
    Column,
    Intake,
    Schema,
    Table,
    infer_support,
    iter_tables,
    read_table,
    write_table,
)
from diffeo.data.tables import records as records_module
from diffeo.data.tables.marks import Marks

GOOD = "a,b,c\n1.5,2.5,3.5\n4.5,5.5,6.5\n7.5,8.5,9.25\n"


def save(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows_of(n: int, width: int = 3, seed: int = 0) -> np.ndarray:
    return np.round(np.random.default_rng(seed).normal(size=(n, width)), 6)


def text_of(array: np.ndarray, names: str = "a,b,c") -> str:
    return names + "\n" + "".join(",".join(repr(float(v)) for v in row) + "\n" for row in array)


def with_line(line: str, at: int = 16, n: int = 40) -> str:
    """A good table of n rows whose line number `at` has been replaced."""
    lines = text_of(rows_of(n)).splitlines()
    lines[at - 1] = line
    return "\n".join(lines) + "\n"


# --- bad input: what, where, and how to mend, in one line -----------------------------------------

BAD: dict[str, tuple[str | bytes, dict[str, Any], list[str]]] = {
    "empty file": ("", {}, ["is empty"]),
    "only blank lines": ("\n\n\n", {}, ["is empty"]),
    "header only": ("a,b,c\n", {}, ["no data rows"]),
    "no header": ("1,2,3\n4,5,6\n", {}, ["no header", "line 1", "x0,x1"]),
    "duplicate names": ("a,b,a\n1,2,3\n", {}, ["duplicate", "'a'"]),
    "text column": ("a,city\n1,Paris\n2,Rome\n", {}, ["column 'city'", "'Paris'", "drop=['city']"]),
    "text column further down": (
        "a,b\n"
        + "".join(f"{i},\n" for i in range(1100))
        + "".join(f"{i},x\n" for i in range(3000)),
        {},
        ["column 'b'", "mostly text", "line 1102", "drop=['b']"],
    ),
    "NaN in every row": (
        "a,b\n1,\n2,nan\n3,NA\n4,inf\n",
        {},
        ["column 'b'", "no finite value", "drop=['b']"],
    ),
    "too many bad rows": (
        with_line("1,x,3"),
        {},
        ["1 of 40 rows", "column 'b': not a number (line 16)", "max_bad=0.03"],
    ),
    "1e400": (with_line("1,2,1e400"), {}, ["column 'c': empty, NaN or infinite (line 16)"]),
    "missing field": (with_line("1,2"), {}, ["wrong number of fields (line 16)"]),
    "extra field": (with_line("1,2,3,4"), {}, ["wrong number of fields (line 16)"]),
    "10 MB field": (with_line("1,2," + "3" * 10_000_000), {}, ["line longer than 1 MiB (line 16)"]),
    "unclosed quote, no other quote": (
        with_line('1,"2,3'),
        {},
        ["line 16", "quote", "never closed"],
    ),
    "unclosed quote, later quotes": (
        with_line('1,"2,3') + '7,"8",9\n',
        {},
        ["line 16", "before line 42"],
    ),
    "unclosed quote, all quoted": (
        '"a","b"\n"1","2"\n"3","4\n' + '"5","6"\n' * 9,
        {},
        ["line 3", "before line 4"],
    ),
    "two lone quotes": (
        with_line('1,",3').replace(text_of(rows_of(40)).splitlines()[29], '7,",9'),
        {},
        ["line 16", "line 30"],
    ),
    "spaces between fields": ("a b c\n1 2 3\n4 5 6\n", {}, ["only one column", "' '", "comma"]),
    "binary": (b"\x00\x01\x02\xff" * 500, {}, ["NUL"]),
    "parquet named csv": (b"PAR1....", {}, [".parquet"]),
    "zip named csv": (b"PK\x03\x04....", {}, ["zip"]),
    "cut gzip": (
        gzip.compress(text_of(rows_of(99)).encode())[:-300],
        {},
        ["gzip", "damaged or cut short"],
    ),
    "constant everywhere": ("a,b\n1,2\n1,2\n", {}, ["every column is constant"]),
    "all dropped": (GOOD, {"drop": ["a", "b", "c"]}, ["no column is left"]),
    "unknown override": (
        "age,b\n1,2\n3,5\n",
        {"columns": {"agee": "positive"}},
        ["'agee'", "did you mean 'age'"],
    ),
    "unknown drop": (GOOD, {"drop": ["z"]}, ["drop names", "'z'", "'a', 'b', 'c'"]),
    "unknown context": (GOOD, {"context": ["bb"]}, ["context names", "'bb'"]),
    "not positive": (
        "a,b\n1,2\n-3,5\n0,6\n",
        {"columns": {"a": "positive"}},
        ["line 3, column 'a'", "-3", "2 such rows", "columns={'a': 'real'}"],
    ),
    "outside interval": (
        "a,b\n1,0.5\n2,1\n",
        {"columns": {"b": "interval:0:1"}},
        ["line 3, column 'b'", "strictly between 0 and 1"],
    ),
    "not whole": (
        "a,b\n1,2\n2.5,5\n",
        {"columns": {"a": "integer"}},
        ["line 3", "'a'", "2.5", "whole"],
    ),
    "beyond 2^53": (
        "id,b\n9007199254740995,2\n9007199254740993,3\n",
        {},
        ["'id'", "2^53", "drop=['id']"],
    ),
    "text context": ("a,b,s\n1,2,x\n3,4,y\n", {"context": ["s"]}, ["column 's'", "drop=['s']"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_worded(case: str, tmp_path: Path) -> None:
    content, options, words = BAD[case]
    path = save(tmp_path, content)
    with pytest.raises(DataError) as caught:
        read_table(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert len(message) < 600
    for word in words:
        assert word in message, message


def test_bad_places_are_worded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(DataError, match=r"unknown kind of file; use \.csv"):
        read_table(save(tmp_path, "x", "t.xlsx"))
    with pytest.raises(DataError, match="cannot read a table from a dict"):
        read_table({"a": 1})
    path = save(tmp_path, GOOD)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match="Permission denied"):
        read_table(path)


@pytest.mark.parametrize(
    "options", [{"columns": {"a": "odd"}}, {"max_bad": 2.0}, {"drop": ["a"], "context": ["a"]}]
)
def test_bad_options_are_worded(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        read_table(save(tmp_path, GOOD), **options)


# --- the same table in many dresses ---------------------------------------------------------------

DRESSES: dict[str, bytes] = {
    "plain": GOOD.encode(),
    "no newline at the end": GOOD.rstrip().encode(),
    "blank lines": GOOD.replace("\n", "\n\n").encode(),
    "CRLF": GOOD.replace("\n", "\r\n").encode(),
    "CR": GOOD.replace("\n", "\r").encode(),
    "mixed line ends": GOOD.replace("\n", "\r\n", 2).encode(),
    "BOM": codecs.BOM_UTF8 + GOOD.encode(),
    "UTF-16": GOOD.encode("utf-16"),
    "UTF-16-BE without mark": GOOD.encode("utf-16-be"),
    "gzip": gzip.compress(GOOD.encode()),
    "semicolon": GOOD.replace(",", ";").encode(),
    "semicolon and decimal comma": GOOD.replace(",", ";").replace(".", ",").encode(),
    "tab": GOOD.replace(",", "\t").encode(),
    "bar": GOOD.replace(",", "|").encode(),
    "quoted": (
        "\n".join(
            ",".join(f'"{c}"' for c in line.split(",")) for line in GOOD.split("\n")[:-1]
        ).encode()
    ),
    "spaces around": GOOD.replace(",", " , ").encode(),
}


@pytest.mark.parametrize("dress", DRESSES)
@pytest.mark.parametrize("block", [7, 1 << 20])
def test_dresses_read_alike(
    dress: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the file comes in pieces of 7 bytes, so that every line end, quote and character is
    cut somewhere.
    """
    monkeypatch.setattr(records_module, "CHUNK", block)
    table = read_table(save(tmp_path, DRESSES[dress]))
    assert table.schema.names == ("a", "b", "c")
    np.testing.assert_array_equal(
        table.values, [[1.5, 2.5, 3.5], [4.5, 5.5, 6.5], [7.5, 8.5, 9.25]]
    )
    assert (table.intake.total, table.intake.kept) == (3, 3)


def test_latin1_header_and_text_in_a_dropped_column(tmp_path: Path) -> None:
    path = save(
        tmp_path,
        'größe,note\n1.5,straße\n2.5,"two\nlines, one row"\n3.5,5\'10" tall\n'.encode("latin-1"),
    )
    table = read_table(path, drop=["note"])
    assert table.schema.names == ("größe",)
    assert table.values.ravel().tolist() == [1.5, 2.5, 3.5]
    assert table.lines.tolist() == [2, 3, 5]
    assert table.schema.dropped == ("note",)


@pytest.mark.parametrize("block", [10, 1 << 20])
def test_quoted_text_in_a_dropped_column(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Escaped quotes, delimiters and line ends in quotes, beside a stray quote that forces the slow
    way.
    """
    monkeypatch.setattr(records_module, "CHUNK", block)
    body = (
        'x,note,y\n1.5,"he said ""a\nb"", and'
        ' left",10\n2.5,5\'10",20\n3.5,"",30\n4.5,"""",40\n5.5,"q"u,50\n'
    )
    table = read_table(save(tmp_path, body), drop=["note"], max_bad=0.2)
    assert table.values.tolist() == [[1.5, 10], [2.5, 20], [3.5, 30], [4.5, 40]]
    assert table.lines.tolist() == [2, 4, 5, 6]
    assert list(table.intake.reasons) == [
        "text after a closing quote, or a quote that is not closed"
    ]


def test_one_row_one_column_many_columns(tmp_path: Path) -> None:
    assert read_table(save(tmp_path, "a,b\n1,2\n")).values.tolist() == [[1.0, 2.0]]
    one = read_table(save(tmp_path, "a\n1.5\n\n2.5\n\n\n"), max_bad=1)
    assert (one.values.ravel().tolist(), one.intake.total, one.intake.nonfinite) == (
        [1.5, 2.5],
        3,
        1,
    )
    wide = rows_of(5, 1000)
    table = read_table(save(tmp_path, text_of(wide, ",".join(f"c{i}" for i in range(1000)))))
    np.testing.assert_array_equal(table.values, wide)


def test_values_keep_every_bit(tmp_path: Path) -> None:
    values = np.array(
        [
            [1e30, 1e-30, 1.7e9],
            [3e30, -2e-30, 1.7e9 + 1.0000002],
            [0.1 + 0.2, 5e-324, 1.797693134862e308],
        ]
    )
    np.testing.assert_array_equal(read_table(save(tmp_path, text_of(values))).values, values)


# --- accounting -----------------------------------------------------------------------------------

FAULTS: dict[str, Callable[[list[str]], list[str]]] = {
    "text": lambda c: [c[0], "oops", c[2]],
    "two errors in one line": lambda c: ["x", "y", c[2]],
    "empty": lambda c: ["", *c[1:]],
    "nan": lambda c: [c[0], "NaN", c[2]],
    "NA": lambda c: [*c[:2], "NA"],
    "overflow": lambda c: [c[0], "1e400", c[2]],
    "minus overflow": lambda c: ["-1e400", *c[1:]],
    "inf": lambda c: [*c[:2], "-inf"],
    "short": lambda c: c[:2],
    "short and text": lambda c: ["x", c[1]],
    "long": lambda c: [*c, "7"],
    "stray quote": lambda c: [c[0], c[1] + '"', c[2]],
    "text after quote": lambda c: [f'"{c[0]}"9', c[1], c[2]],
    "underscores": lambda c: [c[0], "1__000", c[2]],
    "hex": lambda c: [c[0], "0x10", c[2]],
}


def reference(lines: list[str]) -> tuple[list[list[float]], int, int]:
    """The account in plain Python, one line at a time: kept rows, rejected, nonfinite."""
    kept, rejected, nonfinite = [], 0, 0
    for line in lines:
        cells = ["nan" if c in ("", "NA") else c for c in line.split(",")]
        if len(cells) != 3 or not all(Marks().value(c) is not None for c in cells):
            rejected += 1
        elif not np.isfinite([float(c) for c in cells]).all():
            nonfinite += 1
        else:
            kept.append([float(c) for c in cells])
    return kept, rejected, nonfinite


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    plan=st.lists(st.sampled_from(["", *FAULTS]), min_size=3, max_size=60),
    block=st.sampled_from([50, 333, 1 << 20]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_every_row_is_accounted_for(
    plan: list[str], block: int, newline: str, tmp_path_factory: Any
) -> None:
    folder = tmp_path_factory.mktemp("account")
    plan = [*plan, *[""] * (len(plan) + 2)]  # a column that is mostly text would be refused
    good = rows_of(len(plan), seed=len(plan))
    cells = [[repr(float(v)) for v in row] for row in good]
    lines = [",".join(FAULTS[f](c) if f else c) for f, c in zip(plan, cells, strict=True)]
    kept, rejected, nonfinite = reference(lines)
    path = save(folder, newline.join(["a,b,c", *lines]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records_module, "CHUNK", block)
        schema = Schema(columns=tuple(Column(name=n) for n in "abc"))
        table = read_table(path, schema=schema, max_bad=1, rejects=folder / "bad.csv")
        pieces = list(iter_tables(path, schema=schema, batch_rows=7))
    i = table.intake
    assert (i.total, i.kept, i.rejected, i.nonfinite) == (
        len(lines),
        len(kept),
        rejected,
        nonfinite,
    )
    assert sum(i.reasons.values()) == rejected + nonfinite
    np.testing.assert_array_equal(table.values, kept)

    with (folder / "bad.csv").open(newline="") as f:
        bad = list(csv.DictReader(f))
    assert [int(b["line"]) for b in bad] == sorted(
        set(range(2, len(lines) + 2)) - set(table.lines.tolist())
    )
    assert [b["raw"] for b in bad] == [lines[int(b["line"]) - 2] for b in bad]
    assert all((b["reason"] == "wrong number of fields") == (b["raw"].count(",") != 2) for b in bad)

    scored = np.concatenate([p.values for p in pieces])
    assert len(scored) == len(lines)
    np.testing.assert_array_equal(scored[table.lines - 2], kept)
    assert np.isnan(np.delete(scored, table.lines - 2, axis=0)).all()
    assert sum(p.intake.kept for p in pieces) == len(kept)
    assert sum(p.intake.rejected for p in pieces) == rejected


def test_the_rejects_file_names_column_and_reason(tmp_path: Path) -> None:
    path = save(
        tmp_path,
        with_line("1,x,3", 5).replace("\n" + text_of(rows_of(40)).splitlines()[8], "\n1,2,"),
    )
    table = read_table(path, max_bad=0.1, rejects=tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_text().splitlines() == [
        "line,column,reason,raw",
        '5,b,not a number,"1,x,3"',
        '9,c,"empty, NaN or infinite","1,2,"',
    ]
    assert table.intake.rejects_file == tmp_path / "r.csv"
    assert "38 of 40 rows kept, 1 rejected, 1 not finite" in table.describe()[0]


def test_max_bad_is_a_share_of_all_rows(tmp_path: Path) -> None:
    path = save(tmp_path, with_line("1,x,3", n=100))
    assert read_table(path).intake.bad == 1
    with pytest.raises(DataError, match=r"at most 0\.5 % allowed"):
        read_table(path, max_bad=0.005)


def test_a_bad_cell_in_an_unused_column_costs_nothing(tmp_path: Path) -> None:
    path = save(tmp_path, with_line("1.5,x,3.5"))
    assert read_table(path, drop=["b"]).intake.kept == 40


def test_bad_cells_deep_in_a_file_do_not_change_its_column(tmp_path: Path) -> None:
    values = rows_of(60_000)
    lines = text_of(values).splitlines()
    for at in (30_000, 59_999):
        lines[at] = "1,what,3"
    table = read_table(save(tmp_path, "\n".join(lines)))
    np.testing.assert_array_equal(table.values, np.delete(values, [29_999, 59_998], axis=0))


def test_a_parser_that_loses_rows_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffeo.data.tables.cells import Parser

    plain = Parser._query
    monkeypatch.setattr(Parser, "_query", lambda *a, **k: plain(*a, **k) + " WHERE c0 < 1")
    with pytest.raises(DataError, match="of 40 rows the parser accounts for"):
        read_table(save(tmp_path, text_of(rows_of(40))))


def test_an_account_that_does_not_add_up_cannot_be_made() -> None:
    with pytest.raises(DataError, match="do not add up"):
        Intake(total=10, kept=8, rejected=1, nonfinite=0, reasons={"x": 1})


# --- kinds of columns -----------------------------------------------------------------------------


def test_kinds_are_inferred(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    n = 400
    flags = rng.integers(0, 2, n)
    body = "".join(
        f"{k},{'true' if f else 'false'},{p!r},{r!r},{k}.0,7,{s!r}\n"
        for k, f, p, r, s in zip(
            rng.integers(-5, 50, n),
            flags,
            np.exp(rng.normal(size=n)).tolist(),
            rng.normal(size=n).tolist(),
            rng.uniform(1, 2, n).tolist(),
            strict=True,
        )
    )
    table = read_table(save(tmp_path, "count,flag,income,temp,dotted,seven,flat\n" + body))
    found = dict(zip(table.schema.names, table.schema.supports, strict=True))
    assert found == {
        "count": "integer",
        "flag": "integer",
        "income": "positive",
        "temp": "real",
        "dotted": "real",
        "flat": "real",
    }
    assert table.schema.set_aside == {"seven": 7.0}
    assert table.schema.has_integers
    np.testing.assert_array_equal(table.values[:, 1], flags)


def test_overrides_are_used_and_circles_wrap(tmp_path: Path) -> None:
    path = save(tmp_path, "k,angle\n1,-20\n2,370\n3,90\n")
    schema = read_table(path, columns={"k": "real", "angle": "circular:0:360"}).schema
    assert schema.supports == ("real", "circular:0.0:360.0")


def test_infer_support_of_extreme_columns() -> None:
    rng = np.random.default_rng(0)
    assert str(infer_support(1e300 * np.exp(rng.normal(size=999)), False)) == "positive"
    assert str(infer_support(rng.normal(size=999) * 1e-30, False)) == "real"


def test_context_columns(tmp_path: Path) -> None:
    path = save(tmp_path, GOOD)
    table = read_table(path, context=["c", "a"])
    assert (table.schema.names, table.schema.context_names) == (("b",), ("c", "a"))
    assert table.context is not None
    assert table.context.tolist() == [[3.5, 1.5], [6.5, 4.5], [9.25, 7.5]]
    assert read_table(path, context=["c"], with_context=False).context is None
    again = read_table(path, schema=table.schema)
    np.testing.assert_array_equal(again.context, table.context)
    bare = save(tmp_path, "b\n1\n2\n", "b.csv")
    assert read_table(bare, schema=table.schema, with_context=False).values.shape == (2, 1)
    piece = next(iter_tables(path, schema=table.schema))
    np.testing.assert_array_equal(piece.context, table.context)


# --- a schema when scoring ------------------------------------------------------------------------


def test_schema_finds_columns_by_name(tmp_path: Path) -> None:
    schema = read_table(save(tmp_path, GOOD), columns={"b": "positive"}, drop=["c"]).schema
    other = save(tmp_path, "b,more,a\n-1,text,10\n5,,20\n", "other.csv")
    assert read_table(other, schema=schema).values.tolist() == [[10.0, -1.0], [20.0, 5.0]]
    with pytest.raises(
        DataError, match=r"column 'b', which the table does not have; did you mean 'bb'"
    ):
        read_table(save(tmp_path, "a,bb\n1,2\n", "m.csv"), schema=schema)
    with pytest.raises(DataError, match="missing: 'a', 'b'"):
        read_table(save(tmp_path, "y,z\n1,2\n", "m.csv"), schema=schema)
    with pytest.raises(ConfigError, match="schema already says"):
        read_table(other, schema=schema, drop=["a"])


def test_schema_and_arrays_without_names() -> None:
    values = rows_of(20)
    schema = Schema(columns=tuple(Column(name=n) for n in "pqr"))
    np.testing.assert_array_equal(read_table(values, schema=schema).values, values)
    with pytest.raises(DataError, match="2 columns, the model has 3"):
        read_table(values[:, :2], schema=schema)


def test_set_aside_columns_are_not_needed_when_scoring(tmp_path: Path) -> None:
    schema = read_table(save(tmp_path, "a,k,b\n1.5,7,2\n2.5,7,4\n")).schema
    assert read_table(save(tmp_path, "a,b\n3.5,9\n", "s.csv"), schema=schema).values.tolist() == [
        [3.5, 9.0]
    ]


def test_schema_round_trips_as_json_and_refuses_nonsense() -> None:
    schema = Schema(
        columns=(Column(name="a", support="interval:0:1"),), set_aside={"k": 7.0}, dropped=("z",)
    )
    assert Schema.model_validate_json(schema.model_dump_json()) == schema
    with pytest.raises(ValueError, match="duplicate"):
        Schema(columns=(Column(name="a"), Column(name="a")))
    with pytest.raises(ValueError, match=r"cannot read|unknown kind"):
        Column(name="a", support="odd")


# --- other sources and the way back ---------------------------------------------------------------


def sources(folder: Path, values: np.ndarray) -> dict[str, Any]:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    frame = {n: values[:, j] for j, n in enumerate("abc")}
    np.save(folder / "t.npy", values)
    np.savez(folder / "t.npz", data=values, other=values, columns=np.array(list("abc")))
    for suffix in ("parquet", "csv", "csv.gz", "tsv"):
        write_table(
            folder / f"w.{suffix}",
            list("abc"),
            np.array_split(values, 3) if len(values) else values,
        )
    return {
        "array": values,
        "fortran": np.asfortranarray(values),
        "npy": folder / "t.npy",
        "npz": str(folder / "t.npz"),
        "pandas": pd.DataFrame(frame, index=np.arange(len(values)) * 2),
        "polars": pl.DataFrame(frame),
        "arrow": pa.table(frame),
        "structured": np.array(list(map(tuple, values)), dtype=[(n, float) for n in "abc"]),
        "parquet": folder / "w.parquet",
        "csv": folder / "w.csv",
        "csv.gz": folder / "w.csv.gz",
        "tsv": folder / "w.tsv",
    }


def test_every_source_gives_the_same_rows(tmp_path: Path) -> None:
    values = rows_of(500)
    for name, source in sources(tmp_path, values).items():
        table = read_table(source)
        np.testing.assert_array_equal(table.values, values, err_msg=name)
        assert table.values.flags.c_contiguous
        assert table.values.dtype == np.float64
        expected = ("x0", "x1", "x2") if name in ("array", "fortran", "npy") else ("a", "b", "c")
        assert table.schema.names == expected, name


def test_nulls_and_infinities_of_every_source_are_counted(tmp_path: Path) -> None:
    values = rows_of(300)
    values[7, 1], values[9, 0] = np.nan, np.inf
    for name, source in sources(tmp_path, values).items():
        table = read_table(source, rejects=tmp_path / "r.csv")
        assert (table.intake.total, table.intake.nonfinite, table.intake.rejected) == (
            300,
            2,
            0,
        ), name
        np.testing.assert_array_equal(table.values, np.delete(values, [7, 9], axis=0), err_msg=name)
        schema, again = table.schema, sources(tmp_path, values)[name]
        scored = np.concatenate(
            [p.values for p in iter_tables(again, schema=schema, batch_rows=11)]
        )
        assert np.isnan(scored).all(axis=1).nonzero()[0].tolist() == [7, 9], name


def test_a_table_is_a_source(tmp_path: Path) -> None:
    table = read_table(save(tmp_path, GOOD), context=["b"])
    assert read_table(table) is table
    assert read_table(table, schema=table.schema) is table
    only = Schema(columns=(Column(name="c"),))
    assert read_table(table, schema=only).values.ravel().tolist() == [3.5, 6.5, 9.25]


def test_arrow_types_are_told_apart(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {"n": [1, 2, None], "f": [True, False, True], "x": [1.0, 2.5, 3.0], "s": ["u", "v", "w"]}
    )
    pq.write_table(table, tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet", drop=["s"], max_bad=0.5)
    assert read.schema.supports == ("integer", "integer", "real")
    assert read.values.tolist() == [[1, 1, 1], [2, 0, 2.5]]
    with pytest.raises(DataError, match=r"column 's' is of type string.*drop=\['s'\]"):
        read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 2, 2)), "is no table"),
        (np.zeros((0, 3)), "no data rows"),
        (np.zeros((3, 0)), "no columns"),
        (np.array([["a", "b"]]), "not numbers"),
        (np.zeros((3, 2), dtype=complex), "not numbers"),
        (np.array([[1, object()]]), "not numbers"),
    ],
)
def test_arrays_that_are_no_tables(array: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_table(array)


def test_damaged_and_pickled_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "o.npy", np.array([{}, {}]), allow_pickle=True)
    np.savez(tmp_path / "two.npz", p=np.zeros(3), q=np.zeros(3))
    for name, content, words in (
        ("o.npy", None, "Python objects"),
        ("two.npz", None, "name the one to read 'x'"),
        ("d.npy", b"\x93NUMPY\x01\x00", "NumPy"),
        ("d.npz", b"PK\x03\x04zzzz", "NumPy"),
        ("d.parquet", b"PAR1zzzzPAR1", "Parquet"),
        ("e.parquet", b"", "is empty"),
    ):
        path = tmp_path / name if content is None else save(tmp_path, content, name)
        with pytest.raises(DataError, match=words) as caught:
            read_table(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_written_integers_and_odd_values_read_back(tmp_path: Path) -> None:
    values = np.array([[1.0, 0.1 + 0.2], [-3.0, -np.inf], [np.nan, 5e-324]])
    write_table(tmp_path / "t.csv", ["n,x", "log_prob"], values, integers=["n,x"])
    assert (
        tmp_path / "t.csv"
    ).read_text() == '"n,x",log_prob\n1,0.30000000000000004\n-3,-inf\n,5e-324\n'
    write_table(tmp_path / "t.parquet", ["n", "y"], values, integers=["n"])
    import pyarrow.parquet as pq

    assert [str(t) for t in pq.read_schema(tmp_path / "t.parquet").types] == ["int64", "double"]


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    def breaks() -> Any:
        yield np.zeros((2, 1))
        raise OSError(28, "No space left on device")

    for name in ("t.csv", "t.csv.gz", "t.parquet", "t.npy", "t.npz"):
        path = save(tmp_path, "precious", name)
        with pytest.raises(DataError, match="No space left on device"):
            write_table(path, ["a"], breaks())
        assert path.read_text() == "precious"
    with pytest.raises(DataError, match="cannot be written"):
        write_table(tmp_path / "none" / "t.csv", ["a"], np.zeros((1, 1)))
    with pytest.raises(DataError, match="unknown kind"):
        write_table(tmp_path / "t.doc", ["a"], np.zeros((1, 1)))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "t.csv",
        "t.csv.gz",
        "t.npy",
        "t.npz",
        "t.parquet",
    ]


# --- fingerprint, cost ----------------------------------------------------------------------------


def test_fingerprint_names_the_changed_column(tmp_path: Path) -> None:
    first = read_table(save(tmp_path, GOOD)).fingerprint()
    assert first == read_table(save(tmp_path, GOOD)).fingerprint()
    other = read_table(save(tmp_path, GOOD.replace("8.5", "8.6"))).fingerprint()
    assert (first["rows"], first["columns"]) == (3, ["a", "b", "c"])
    assert first["sha256"] != other["sha256"]
    changed = [n for n in "abc" if first["column_sha256"][n] != other["column_sha256"][n]]
    assert changed == ["b"]


def test_large_files_in_several_chunks_keep_order_and_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.arange(60_000.0).reshape(20_000, 3) + 0.5
    buffer = io.StringIO(text_of(values))
    path = save(tmp_path, buffer.getvalue())
    monkeypatch.setattr(records_module, "CHUNK", 100_000)
    np.testing.assert_array_equal(read_table(path).values, values)
    pieces = list(iter_tables(path, schema=read_table(path).schema, batch_rows=1000))
    assert max(map(len, pieces)) <= 1000
    np.testing.assert_array_equal(np.concatenate([p.values for p in pieces]), values)
    assert isinstance(pieces[0], Table)


def test_importing_data_loads_no_parser() -> None:
    code = (
        "import sys, diffeo.data; print(sorted({'duckdb', 'pyarrow', 'pandas', 'polars'} &"
        " set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
