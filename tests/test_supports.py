"""Kinds of columns: what each allows, its layer, and that a new one is a file and a line."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import diffeo
from diffeo import supports
from diffeo.cli.app import app
from diffeo.core.errors import ConfigError, DataError
from diffeo.inference import Parameter, Space
from diffeo.supports import KINDS, Event, Kind, Scalar, Support

GUIDE = Path(__file__).parent.parent / "CONTRIBUTING.md"
# written form: values that belong, values that do not
COLUMNS: dict[str, tuple[list[float], list[float]]] = {
    "real": ([-1e9, 0.0, 2.5], []),
    "positive": ([1e-9, 1.0, 7e8], [0.0, -1.0]),
    "integer": ([-3.0, 0.0, 12.0], [0.5, 1e-9]),
    "interval:-1:3": ([-0.99, 0.0, 2.99], [-1.0, 3.0, 4.0]),
    "circular:0:360": ([0.0, 359.9, 180.0], []),
}
every_column = pytest.mark.parametrize("text", COLUMNS)


def kinds_of(base: type[Kind]) -> list[type[Kind]]:
    return [kind for kind in KINDS.values() if issubclass(kind, base)]


# --- every kind has its lines ---------------------------------------------------------------------


def test_every_kind_is_registered() -> None:
    classes = set()
    for module in pkgutil.iter_modules(supports.__path__):
        things = vars(importlib.import_module(f"diffeo.supports.{module.name}")).values()
        classes |= {
            t for t in things if inspect.isclass(t) and issubclass(t, Kind) and hasattr(t, "form")
        }
    assert classes == set(KINDS.values())


def test_every_kind_of_column_has_a_case() -> None:
    assert {Support.parse(text).word() for text in COLUMNS} == {k.word() for k in kinds_of(Support)}


def test_the_help_names_every_kind_of_column() -> None:
    # of any width and colour
    text = CliRunner().invoke(app, ["fit", "--help"], terminal_width=400).output
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    words = re.sub(r"[\s│]+", " ", plain)
    assert [k.form for k in kinds_of(Support) if k.form not in words] == []


def test_parameters_say_every_support() -> None:
    words = str(Parameter.__doc__)
    known = kinds_of(Scalar) + kinds_of(Event)
    assert [kind.form for kind in known if kind.form not in words] == []


@pytest.mark.parametrize("word", list(KINDS))
def test_examples_fit_the_form_and_are_read_as_written(word: str) -> None:
    kind = KINDS[word]
    assert kind.example.count(":") == kind.form.count(":")
    read = kind.read(kind.example.partition(":")[2])
    assert isinstance(read, kind)
    assert kind.read(str(read).partition(":")[2]) == read
    assert str(read).partition(":")[0] == word


# --- what a kind of column does -------------------------------------------------------------------


@every_column
def test_which_values_belong(text: str) -> None:
    support = Support.parse(text)
    inside, outside = COLUMNS[text]
    assert not support.outside(np.array(inside)).any()
    assert support.outside(np.array(outside)).all()


@every_column
def test_a_table_refuses_other_values_in_words(text: str) -> None:
    inside, outside = COLUMNS[text]
    for bad in outside:
        values = np.array([[*inside, bad]]).T
        with pytest.raises(DataError, match=re.escape(Support.parse(text).words)):
            diffeo.read_table(values, columns={"x0": text})


@every_column
def test_layers_lead_back_and_have_the_right_slope(text: str) -> None:
    support = Support.parse(text)
    layer = support.layer(5.0)
    x = torch.tensor(COLUMNS[text][0], dtype=torch.float64)[:, None]
    if layer is None:
        assert text == "real"
        return
    y, log_det = layer(x)
    back, opposite = layer.inverse(y)
    torch.testing.assert_close(back, x, rtol=1e-9, atol=1e-9)
    if layer.exact:
        torch.testing.assert_close(opposite, -log_det, rtol=1e-7, atol=1e-7)
        slope = torch.autograd.functional.jacobian(lambda v: layer(v[:, None])[0].sum(), x[:, 0])
        torch.testing.assert_close(slope.log(), log_det, rtol=1e-9, atol=1e-9)


@every_column
def test_fits_and_samples_keep_to_the_support(text: str) -> None:
    support = Support.parse(text)
    x = np.random.default_rng(0).choice(COLUMNS[text][0], (64, 2)).astype(float)
    flow = diffeo.models.nsf(2, supports=[text, "real"], layers=2, hidden=(8,))
    diffeo.fit(flow, x, steps=3, batch_size=32)
    drawn = flow.sample((50,)).double().numpy()[:, 0]
    assert not support.outside(drawn).any()
    np.testing.assert_allclose(support.canonical(drawn), drawn)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("round", "unknown kind of column 'round': use one of real, positive"),
        ("simplex", "unknown kind of column"),
        ("positive:1", "takes no bounds"),
        ("interval", "needs bounds: write interval:LOW:HIGH"),
        ("interval:0", "cannot read 'interval:0': write real, positive, integer, interval:0:1 or"),
        ("interval:a:b", "cannot read"),
        ("interval:nan:1", "cannot read"),
        ("circular:0:360:90", "cannot read"),
        ("interval:1:0", "a lower bound must lie below its upper one"),
        ("circular:0:inf", "finite"),
    ],
)
def test_texts_that_are_no_kind_of_column(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Support.parse(text)


# --- a new kind -----------------------------------------------------------------------------------


@pytest.fixture
def heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The kind of CONTRIBUTING.md, in a file and in the registry."""
    section = GUIDE.read_text().split("## Add a kind of column in one file")[1].split("\n## ")[0]
    code = section.split("```python\n")[1].split("```")[0]
    code = inspect.cleandoc(code).replace("from .", "from diffeo.supports.")
    (tmp_path / "heavy_kind.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    kind = importlib.import_module("heavy_kind").Heavy
    monkeypatch.setitem(KINDS, kind.word(), kind)
    return kind


def test_the_kind_of_the_guide_is_read_fitted_and_drawn(heavy: Any) -> None:
    rows = np.random.default_rng(0).standard_t(1, (200, 2))
    table = diffeo.read_table(rows, columns={"x0": "heavy"})
    assert table.schema.supports[0] == "heavy"
    flow = diffeo.models.nsf(2, supports=table.schema.supports, layers=2, hidden=(8,))
    diffeo.fit(flow, table.values, steps=5, batch_size=64)
    drawn = flow.sample((100,))
    assert drawn.isfinite().all()
    assert flow.log_prob(drawn).isfinite().all()
    torch.testing.assert_close(flow.decode(flow.encode(drawn)[0])[0], drawn, rtol=1e-3, atol=1e-3)


def test_the_layer_of_formulas_has_the_slope_of_its_values(heavy: Any) -> None:
    layer = supports.ToReals(heavy())
    x = torch.tensor([-1e5, -2.0, 0.0, 0.3, 1e8], dtype=torch.float64)[:, None]
    y, log_det = layer(x)
    slope = torch.autograd.functional.jacobian(lambda v: layer(v[:, None])[0].sum(), x[:, 0])
    torch.testing.assert_close(slope.log(), log_det)
    torch.testing.assert_close(layer.inverse(y), (x, -log_det))
    assert layer(torch.tensor([[float("inf")]]))[1] == -torch.inf


def test_the_kind_of_the_guide_is_a_support_of_parameters(heavy: Any) -> None:
    space = Space.of({"a": "heavy", "b": ((3,), ["heavy", "positive", "heavy"])})
    u = torch.linspace(-2, 2, 20, dtype=torch.float64).reshape(5, 4)
    value, log_det = space.constrain(u)
    assert isinstance(value, dict)
    torch.testing.assert_close(value["b"][:, 2], u[:, 3].sinh())
    torch.testing.assert_close(space.unconstrain(value), u)
    slopes = u[:, [0, 1, 3]].cosh().log().sum(1) + u[:, 2]
    torch.testing.assert_close(log_det, slopes)


# --- written forms are not only numbers -----------------------------------------------------------


def test_a_kind_may_be_written_with_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes for values that are no numbers: what follows the word is the kind's to read."""

    @dataclass(frozen=True)
    class Colour(Support):
        names: tuple[str, ...]
        form = "colour:A:B"
        example = "colour:red:blue"
        whole = True
        words = "a code of a colour"

        @classmethod
        def read(cls, text: str) -> Kind:
            return cls(tuple(text.split(":")))

        def arguments(self) -> tuple[str, ...]:
            return self.names

        def outside(self, values: Any) -> Any:
            return ~np.isin(values, range(len(self.names)))

        def layer(self, bound: float) -> Any:
            return diffeo.layers.Dequantize()

    monkeypatch.setitem(KINDS, "colour", Colour)
    support = Support.parse("colour:red:green:blue")
    assert str(support) == "colour:red:green:blue"
    table = diffeo.read_table(np.arange(12.0)[:, None] % 3, columns={"x0": str(support)})
    assert table.schema.has_integers
