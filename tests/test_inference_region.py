"""Regions that a function tells, devices and limits of time: what is outside has no weight and is
no objection.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
from torch import Tensor

import diffeo
from diffeo.cli.app import main
from diffeo.core.errors import ConfigError, DiffeoError, InferenceError
from diffeo.inference import ReverseKL, Space, Target
from diffeo.inference.weights.diagnostics import verdict

FAST: dict[str, Any] = {
    "steps": 150,
    "samples": 3_000,
    "layers": 3,
    "hidden": (32,),
    "effort": "flow",
    "model": "realnvp",
}


def normal(x: Tensor) -> Tensor:
    return -0.5 * x.square().sum(1) - 0.5 * x.shape[1] * math.log(2 * math.pi)


def below(cut: float) -> Callable[[Tensor], Tensor]:
    """Σ x / √D < cut, the share Φ(cut) of a standard normal."""
    return lambda x: x.sum(1) / math.sqrt(x.shape[1]) < cut


def log_phi(z: float) -> float:
    return math.log(0.5 * math.erfc(-z / math.sqrt(2)))


@pytest.mark.parametrize(("size", "cut"), [(2, 1 / math.sqrt(2)), (2, -2.0), (5, 0.0), (10, 0.5)])
def test_half_a_normal(size: int, cut: float) -> None:
    posterior = diffeo.infer(normal, size, inside=below(cut), **FAST)
    assert posterior.trusted, posterior.warnings
    assert abs(posterior.log_z - log_phi(cut)) < 4 * posterior.log_z_se + 1e-3
    assert posterior.elbo < log_phi(cut) + 0.05
    draws = posterior.sample(1_000)
    assert isinstance(draws, Tensor)
    assert bool(below(cut)(draws).all())
    assert posterior.counts["outside_rows"] == 0
    assert posterior.counts["declared_rows"] > 0


def test_the_log_density_is_not_asked_outside() -> None:
    def log_density(p: dict[str, Tensor]) -> Tensor:
        assert bool((p["a"] + p["b"] < 1).all())
        return (1 - p["a"] - p["b"]).log() - p["a"]

    parameters = {"a": "positive", "b": "positive"}
    posterior = diffeo.infer(log_density, parameters, inside=lambda p: p["a"] + p["b"] < 1, **FAST)
    # ∫ e^−a (1 − a)² / 2 da from 0 to 1 is ½ (1 − 2/e)
    assert posterior.log_z == pytest.approx(
        math.log(0.5 * (1 - 2 / math.e)), abs=5 * posterior.log_z_se + 2e-3
    )


def test_draws_outside_count_whether_declared_or_not() -> None:
    """Their weight is zero, which is as good as any: log Z is right; a declared region is no
    objection at all.
    """

    def half(x: Tensor) -> Tensor:
        return torch.where(x[:, 0] > 0, normal(x), -math.inf)

    posterior = diffeo.infer(half, 2, **FAST)
    assert posterior.diagnostics.minus_inf_share > 0.01
    assert posterior.log_z == pytest.approx(-math.log(2), abs=5 * posterior.log_z_se)
    declared = diffeo.infer(normal, 2, inside=lambda x: x[:, 0] > 0, **(FAST | {"steps": 5}))
    assert not any("outside the support" in reason for reason in verdict(declared.diagnostics)[1])


def test_draws_outside_are_an_objection_unless_they_were_declared() -> None:
    declared = diffeo.infer(normal, 2, inside=lambda x: x[:, 0] > 0, **(FAST | {"steps": 5}))
    assert declared.diagnostics.declared_share > 0.05
    most = replace(declared.diagnostics, minus_inf_share=0.6, declared_share=0.6)
    assert not any("outside the support" in reason for reason in verdict(most)[1])
    assert any(
        "outside the support" in reason for reason in verdict(replace(most, declared_share=0.0))[1]
    )


def test_draws_outside_push_inwards() -> None:
    """The gradient of −log m by the mean of a normal, m the share above 0: the mean has to grow."""
    shift = diffeo.layers.Whiten(1)
    flow = diffeo.Flow(diffeo.Chain([shift, diffeo.layers.LULinear(1)]), diffeo.bases.Normal(1))
    target = Target(lambda x: normal(x), Space.of(1), inside=lambda x: x[:, 0] > 0)
    z = torch.randn(4_000, 1, generator=torch.Generator().manual_seed(0))
    ReverseKL(flow, target).train()(z).mean().backward()
    bias = next(p for name, p in flow.named_parameters() if "bias" in name)
    u = flow.decode(torch.zeros(1, 1))[0]
    (up,) = torch.autograd.grad(u.sum(), bias)
    assert bias.grad is not None
    # inside p̃/q is constant; d log Φ(μ) / dμ at 0 is φ(0) / Φ(0)
    assert float(-bias.grad / up) == pytest.approx(math.sqrt(2 / math.pi), abs=0.05)


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        (3, "inside is a function"),
        (lambda x: x[:, 0], "inside returned torch.float32 of shape .* truth value for each"),
        (lambda x: x > 0, "inside returned torch.bool of shape"),
        (lambda x: x[:, 7] > 0, "inside raised IndexError"),
        (lambda x: x[:, 0] > 1e9, "inside is false at all .* points"),
    ],
)
def test_regions_that_cannot_be_used_are_refused(inside: Any, words: str) -> None:
    with pytest.raises(DiffeoError, match=words) as caught:
        diffeo.infer(normal, 2, inside=inside, **FAST)
    assert isinstance(caught.value, (ConfigError, InferenceError))
    assert "\n" not in str(caught.value)


def test_a_file_may_declare_its_region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cut.py"
    path.write_text(
        "def log_p(x): return -0.5 * x.square().sum(1)\ndef inside(x): return x.sum(1) < 1\n"
    )
    words = [
        "--dim",
        "2",
        "--steps",
        "5",
        "-n",
        "500",
        "--model",
        "realnvp",
        "--effort",
        "flow",
        "--quiet",
    ]
    monkeypatch.setattr(
        "sys.argv", ["diffeo", "infer", f"{path}:log_p", "--out", str(tmp_path / "out"), *words]
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    draws = pandas.read_parquet(tmp_path / "out" / "draws.parquet")
    assert bool((draws.sum(axis=1) < 1).all())


# --- devices --------------------------------------------------------------------------------------


def test_the_cpu_by_name_is_the_default() -> None:
    one, two = (
        diffeo.infer(normal, 2, device=device, **(FAST | {"steps": 5})) for device in (None, "cpu")
    )
    assert torch.equal(one.draws, two.draws)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", 3.5])
def test_devices_that_are_not_there_are_refused(device: Any) -> None:
    with pytest.raises(ConfigError, match=r"device .* cannot be used") as caught:
        diffeo.infer(normal, 2, device=device, **FAST)
    assert "\n" not in str(caught.value)


# --- limits ---------------------------------------------------------------------------------------


def slow(x: Tensor) -> Tensor:
    """2 ms and 20 µs a row."""
    time.sleep(2e-3 + 2e-5 * len(x))
    return -x.square().square().sum(1)


@pytest.mark.parametrize("effort", ["auto", "flow", "annealed", "fab", "mcmc"])
def test_slow_densities_end_near_the_limit(effort: Any) -> None:
    start = time.monotonic()
    posterior = diffeo.infer(
        slow, 3, minutes=4 / 60, effort=effort, model="realnvp", layers=2, hidden=(16,)
    )
    assert time.monotonic() - start < 12
    assert any(
        "the limit of 0.0667 minutes ended the search" in warning for warning in posterior.warnings
    )


def test_auto_has_a_limit_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("diffeo.inference.infer"), "AUTO_MINUTES", 2 / 60)
    posterior = diffeo.infer(slow, 3, model="realnvp", layers=2, hidden=(16,), samples=500)
    assert any("the default of effort='auto'" in warning for warning in posterior.warnings)
