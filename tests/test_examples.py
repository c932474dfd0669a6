"""The examples run, and do what they say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def numbers(text: str) -> list[float]:
    return [float(n) for n in re.findall(r"-?\d+\.\d+", text)]


@pytest.mark.slow
def test_posterior_covers_the_truth(capsys: pytest.CaptureFixture[str]) -> None:
    example("posterior").main(steps=300)
    for line in capsys.readouterr().out.splitlines()[1:]:
        true, mean, sd = numbers(line)
        assert abs(true - mean) < 4 * sd
        assert sd < 2


@pytest.mark.slow
def test_regression_knows_its_noise(capsys: pytest.CaptureFixture[str]) -> None:
    example("regression").main(steps=300)
    normal, student, slope = capsys.readouterr().out.splitlines()
    assert "NOT" not in normal + student
    assert numbers(student)[0] > numbers(normal)[0] + 5  # nats
    true, mean, sd = numbers(slope)
    assert abs(true - mean) < 4 * sd
    assert sd < 0.3


@pytest.mark.slow
def test_directions_have_no_seam(capsys: pytest.CaptureFixture[str]) -> None:
    example("directions").main(steps=200)
    first, second = capsys.readouterr().out.splitlines()
    below, above = numbers(first)
    assert abs(below - above) < 0.01
    drawn, data = numbers(second)
    assert abs(drawn - data) < 0.05


@pytest.mark.slow
def test_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    example("by_hand").main(steps=300)
    first, second = capsys.readouterr().out.splitlines()
    assert numbers(first)[0] < 1.5
    assert "sound" in second


@pytest.mark.slow
def test_digits_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    example("digits").main(steps=400)
    first, second = capsys.readouterr().out.splitlines()
    assert numbers(first)[0] < 3.0
    assert numbers(second)[0] > 0.5  # a tenth would be chance
    assert (tmp_path / "digits.png").stat().st_size > 1000
