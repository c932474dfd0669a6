"""The benchmark's checks catch a contender that does not compute what the others do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from speed.checks import problems, wanted
from speed.rows import NSF, ROWS

GOOD: dict[str, Any] = {
    "parameters": 331_200,
    "note": "",
    "losses": [22.0, 21.0],
    "log_prob_shape": True,
    "sample_shape": True,
    "own_finite": 1.0,
}
FAULTS: dict[str, dict[str, Any]] = {
    "parameters": {"parameters": 331_201},
    "rising": {"losses": [21.0, 22.0]},
    "not finite": {"losses": [21.0, None]},
    "shape of log_prob": {"log_prob_shape": False},
    "shape of samples": {"sample_shape": False},
    "own samples": {"own_finite": 0.99},
    "died": {"failed": "its process ended"},
}


def test_a_good_contender_passes() -> None:
    assert wanted(NSF) == GOOD["parameters"]
    assert not problems(GOOD, NSF)
    assert not problems({**GOOD, "parameters": 1, "note": "fewer because ..."}, NSF)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str) -> None:
    assert len(problems({**GOOD, **FAULTS[fault]}, NSF)) == 1


def test_quick_rows_are_some_of_all() -> None:
    for row in ROWS.values():
        values = [value for value, _ in row.points()]
        assert {value for value, _ in row.points(quick=True)} <= set(values)
        assert row.contenders[0] == "diffeo"
