"""Tiny recipes with stored loss curves: a change of what training computes shows here, whether
meant or not.

`python tests/test_golden.py` writes the curves anew; say in the changelog why they moved.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import diffeo

STORED = Path(__file__).with_name("golden.json")
RECIPES: dict[str, dict[str, object]] = {
    "nice": {"model": "nice"},
    "realnvp": {"model": "realnvp", "mixing": "lu"},
    "nsf": {"model": "nsf", "split": "random", "mixing": "lu"},
    "nsf on mixed columns": {"model": "nsf", "supports": ["real", "positive", "circular:0:6"]},
    "nsf given context": {"model": "nsf", "context_shape": (1,)},
}


def curve(name: str) -> list[float]:
    """Validation losses of 40 steps."""
    torch.set_num_threads(1)
    args = dict(RECIPES[name])
    build = diffeo.models.MODELS[str(args.pop("model"))]
    x = torch.rand(400, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    x[:, 1] += x[:, 0] ** 2
    context = x[:, :1] + x[:, 2:] if "context_shape" in args else None
    flow = build((3,), layers=3, hidden=(16, 16), **args)
    history = diffeo.fit(flow, x, context, steps=40, eval_every=8, batch_size=64, lr=1e-2).history
    return [line["valid"] for line in history]


@pytest.mark.parametrize("name", RECIPES)
def test_the_course_of_training_is_the_stored_one(name: str) -> None:
    assert curve(name) == pytest.approx(json.loads(STORED.read_text())[name], abs=2e-3)


if __name__ == "__main__":
    STORED.write_text(json.dumps({name: curve(name) for name in RECIPES}, indent=1) + "\n")
