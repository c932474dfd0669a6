"""Rows that have no density are said to have none, by column; continuous rows hardly ever are."""

from __future__ import annotations

import contextlib
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import torch

import diffeo
from diffeo.checkup import DensityWarning, density
from diffeo.cli import main
from diffeo.training.density import warn_without_density

RNG = np.random.default_rng(3)
N = 2_000
A, B, C = RNG.normal(size=(3, N))
FAULTS = {
    "nought": (np.c_[A, np.where(RNG.random(N) < 0.7, 0.0, np.exp(B))], "x1", "is 0 in 7"),
    "few noughts": (np.c_[A, np.where(RNG.random(N) < 0.04, 0.0, B)], "x1", "is 0 in"),
    "sentinel": (np.c_[A, np.where(RNG.random(N) < 0.05, -999.0, B)], "x1", "is -999 in"),
    "rare sentinel": (np.c_[A, np.where(RNG.random(N) < 0.01, -999.0, B)], "x1", "is -999 in"),
    "censored": (np.c_[A, np.minimum(B, 1.0)], "x1", "is 1 in"),
    "two values": (np.c_[A, np.sign(B)], "x1", "takes 2 values only"),
    "constant": (np.c_[A, 0 * A + 3], "x1", "takes one value only"),
    "copy": (np.c_[A, B, A], "x2", "'x0'"),
    "other units": (np.c_[A, 2.54 * A + 3], "x1", "'x0'"),
    "sum": (np.c_[A, B, A + B, C], "x2", "'x0', 'x1'"),
    "product": (np.c_[A, B, A * B], "x2", "product of powers of 'x0', 'x1'"),
    "square": (np.c_[A, A**2], "x1", "'x0'"),
    "wave": (np.c_[A, np.sin(3 * A)], "x1", "function of 'x0'"),
    "copies": (np.repeat(np.c_[A, B], 2, 0), "", "repeat another row"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_has_no_density_is_named(name: str) -> None:
    rows, column, words = FAULTS[name]
    found = density(rows)
    assert not found.ok
    assert any(column in text and words in text for text in found.problems), found.problems
    x = torch.from_numpy(rows)
    flow = diffeo.models.nsf((x.shape[1],), layers=2, hidden=(8,))
    report = diffeo.check(flow, x)
    assert "sound" not in report.verdict
    assert not report.ok
    assert json.loads(json.dumps(report.as_dict()["density"]))["problems"]


@pytest.mark.parametrize("name", ["nought", "sum", "constant"])
def test_fit_warns_once_of_rows_without_a_density(name: str) -> None:
    rows, column, words = FAULTS[name]
    flow = diffeo.models.realnvp((rows.shape[1],), layers=1, hidden=(4,))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        diffeo.fit(flow, torch.from_numpy(rows), steps=2)
    (told,) = [w for w in caught if issubclass(w.category, DensityWarning)]
    assert column in str(told.message)
    assert words in str(told.message)
    assert told.filename == __file__


def test_fit_is_silent_where_there_is_a_density_or_none_is_fitted() -> None:
    """Continuous rows, whole numbers declared as such or dequantised by hand, an objective of one's
    own.
    """
    whole = torch.from_numpy(np.c_[A, RNG.integers(0, 3, N)])
    by_hand = diffeo.Flow(diffeo.Chain([diffeo.layers.Dequantize(2)]), diffeo.bases.Normal(2))
    declared = diffeo.models.realnvp((2,), layers=1, hidden=(4,), supports=["real", "integer"])
    plain = diffeo.models.realnvp((2,), layers=1, hidden=(4,))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DensityWarning)
        diffeo.fit(plain, torch.from_numpy(np.c_[A, B]), steps=2)
        diffeo.fit(declared, whole, steps=2)
        diffeo.fit(plain, whole, steps=2, objective=lambda f, x, c: -f.log_prob(x, c))
        warn_without_density(by_hand, [whole.round()], None, stacklevel=1)
    with pytest.warns(DensityWarning):
        diffeo.fit(plain, whole, steps=2)


def test_the_command_says_it_once(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
) -> None:
    data = tmp_path / "rain.csv"
    np.savetxt(data, FAULTS["nought"][0], delimiter=",", header="a,b", comments="")
    options = ["--out", str(tmp_path / "m"), "--steps", "2", "--no-report", "--set", "layers=1"]
    monkeypatch.setattr("sys.argv", ["diffeo", "fit", str(data), *options])
    with contextlib.suppress(SystemExit):
        main()
    printed = capsys.readouterr()
    assert "no density: column 'b'" in printed.err + printed.out
    assert not [w for w in recwarn if issubclass(w.category, DensityWarning)]


def test_columns_that_a_context_determines_are_named() -> None:
    assert "context 0" in density(np.c_[A, B], context=(A + 2 * B)[:, None]).problems[0]


@pytest.mark.parametrize("noise", [1e-2, 1e-3, 1e-4])
def test_nearly_is_a_density(noise: float) -> None:
    assert density(np.c_[A, A + noise * B, A**2 + noise * C]).ok


def test_grids_and_integers_are_no_fault() -> None:
    found = density(np.round(np.c_[A, B], 1))
    assert found.ok
    assert "grid of about 0.1" in found.notes[0]
    assert density(np.c_[np.where(A > 0, 0, RNG.poisson(9, N))], ["integer"]).ok


def test_continuous_rows_raise_no_alarm() -> None:
    rng, alarms = np.random.default_rng(0), []
    for k in range(200):
        rows, columns = int(rng.integers(20, 1_500)), int(rng.integers(1, 6))
        x = rng.standard_t(rng.uniform(0.8, 6), (rows, columns))
        x = (x @ rng.normal(size=(columns, columns)), np.sign(x) * np.abs(x) ** 1.5, x + 1_000)[
            k % 3
        ]
        found = density(x.astype(np.float32))
        alarms += found.problems
    assert alarms == []


@pytest.mark.parametrize("name", ["wine", "breast_cancer"])
def test_real_tables_raise_no_alarm(name: str) -> None:
    assert density(getattr(sklearn.datasets, f"load_{name}")().data).problems == []


def test_diabetes_has_columns_of_few_values() -> None:
    assert {atom["column"] for atom in density(sklearn.datasets.load_diabetes().data).atoms} == {
        "x1",
        "x7",
    }


def test_fit_says_so_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = FAULTS["sentinel"][0][:400]
    (tmp_path / "t.csv").write_text("a,b\n" + "\n".join(f"{a:.6f},{b:.6f}" for a, b in rows))
    command = [
        "diffeo",
        "fit",
        str(tmp_path / "t.csv"),
        "--out",
        str(tmp_path / "m"),
        "--steps",
        "2",
        "--json",
        "--set",
        "layers=1",
    ]
    monkeypatch.setattr("sys.argv", command)
    with contextlib.suppress(SystemExit):
        main()
    said = capsys.readouterr()
    assert "no density: column 'b' is -999" in said.err
    found = json.loads(said.out)
    assert found["density"]["atoms"][0]["column"] == "b"
    assert found["check"] is False
    page = (tmp_path / "m" / "report.html").read_text()
    assert page.index("These rows have no density") < page.index("full-covariance Gaussian")
