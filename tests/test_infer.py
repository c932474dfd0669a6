"""`infer` as a run: starts from maxima, resuming, signals, limits, flows of one's own, and what the
verdict must catch.
"""

from __future__ import annotations

import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import diffeo
from diffeo.bases import PlacedMixture
from diffeo.core.errors import CheckpointError, ConfigError
from diffeo.inference import AlphaDivergence, all_found, laplace
from diffeo.inference.modes.mixture import weigh_modes
from diffeo.inference.weights.bridge import bridge
from diffeo.runs import stop_on_signals

FAST = {"steps": 60, "samples": 2_000, "hidden": (16,), "layers": 2, "model": "realnvp"}


def shifted(x: Tensor) -> Tensor:
    """N(1, 0.5²), times e³."""
    return (
        3
        - 0.5 * ((x - 1) / 0.5).square().sum(1)
        - x.shape[1] * math.log(0.5 * math.sqrt(2 * math.pi))
    )


def four(x: Tensor) -> Tensor:
    """Normals at (±10, ±10), the masses 0.1, 0.2, 0.3, 0.4."""
    centres = torch.tensor(
        [[-10.0, -10.0], [-10.0, 10.0], [10.0, -10.0], [10.0, 10.0]], dtype=x.dtype
    )
    masses = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=x.dtype)
    each = -0.5 * (x[:, None] - centres).square().sum(2) - math.log(2 * math.pi)
    return (each + masses.log()).logsumexp(1)


def skewed(x: Tensor) -> Tensor:
    """Two modes that Laplace's approximation gives wrong masses: x⁴-shaped on the right. Masses by
    quadrature in the test.
    """
    left = -0.5 * (x[:, 0] + 8).square()
    right = -0.01 * (x[:, 0] - 8).pow(4) - 0.02 * (x[:, 0] - 8).square()
    return torch.logaddexp(left, right)


def funnel(x: Tensor) -> Tensor:
    rest = -0.5 * x[:, 1:].square().sum(1) * torch.exp(-x[:, 0]) - 0.5 * (x.shape[1] - 1) * x[:, 0]
    return (
        -0.5 * (x[:, 0] / 3).square()
        + rest
        - math.log(3)
        - 0.5 * x.shape[1] * math.log(2 * math.pi)
    )


# --- maxima ---------------------------------------------------------------------------------------


def test_climbing_goes_on_until_no_maximum_is_new() -> None:
    """From eight starts some of four wells are missed; the search notices and goes on."""
    found = laplace(four, 2, scale=10.0)
    assert len(found) == 4
    assert all_found(found)
    assert sum(m.hits for m in found) > 8
    assert len(laplace(four, 2, scale=10.0, starts=64)) == 4


def test_a_saddle_between_two_modes_is_no_maximum() -> None:
    """p(x) = p(−x): a climb from 0 itself would stay there, and its saddle would count as a mode
    without a Gaussian.
    """
    centre = torch.tensor([4.0, 4.0])

    def both(x: Tensor) -> Tensor:
        each = [-0.5 * (x - sign * centre.to(x.dtype)).square().sum(1) for sign in (1, -1)]
        return torch.logaddexp(*each) - math.log(4 * math.pi)

    assert [m.proper for m in laplace(both, 2, scale=4.0)] == [True, True]
    posterior = diffeo.infer(both, 2, scale=4.0, **FAST)
    assert [a.name for a in posterior.attempts] == ["flow"]
    assert posterior.log_z == pytest.approx(0, abs=0.01)


def test_too_many_maxima_are_not_all_found() -> None:
    found = laplace(lambda u: 5 * torch.cos(3 * u).sum(1) - 1e-3 * u.square().sum(1), 4, scale=20.0)
    assert not all_found(found)


def test_a_mixture_of_maxima_keeps_every_mode() -> None:
    posterior = diffeo.infer(four, 2, scale=10.0, **FAST)
    assert posterior.trusted, posterior.warnings
    assert [a.name for a in posterior.attempts] == ["flow"]
    assert posterior.log_z == pytest.approx(0, abs=0.01)
    assert posterior.ess > 0.95
    x = posterior.columns()
    share = posterior.log_weights.exp().double() @ ((x[:, 0] > 0) & (x[:, 1] > 0)).double()
    assert float(share) == pytest.approx(0.4, abs=0.03)


def test_masses_of_modes_follow_importance_weights() -> None:
    x = torch.linspace(-20, 20, 40_001, dtype=torch.float64)[:, None]
    p = skewed(x).exp()
    left = float((p * (x[:, 0] < 0)).sum() / p.sum())
    base = PlacedMixture(
        torch.tensor([1.0, 1.0]), torch.tensor([[-8.0], [8.0]]), torch.tensor([[[1.0]], [[3.0]]])
    )
    flow = diffeo.Flow(diffeo.Chain([]), base)
    weigh_modes(flow, skewed, count=8_192, generator=torch.Generator().manual_seed(0))
    assert float(base.log_weights.exp()[0]) == pytest.approx(left, abs=0.02)


# --- what weights do not tell ---------------------------------------------------------------------


def two(x: Tensor, apart: float = 8.0, sd: float = 0.05) -> Tensor:
    """N(0, 1) and, as heavy, N(apart, sd²) in each dimension."""
    size, far = x.shape[1], (x - apart) / sd
    first = -0.5 * x.square().sum(1)
    second = -0.5 * far.square().sum(1) - size * math.log(sd)
    return torch.logaddexp(first, second) - math.log(2) - 0.5 * size * math.log(2 * math.pi)


@pytest.mark.parametrize(
    ("size", "apart", "sd"), [(1, 8.0, 0.05), (1, 20.0, 0.5), (2, 5.0, 0.5), (2, 50.0, 1.0)]
)
def test_a_mode_out_of_sight_is_found_or_the_result_is_not_trusted(
    size: int, apart: float, sd: float
) -> None:
    """At the scale of the other: climbs from farther out, and draws from far and wide."""
    posterior = diffeo.infer(lambda x: two(x, apart, sd), size, effort="flow", **FAST)
    assert not posterior.trusted or posterior.log_z == pytest.approx(0, abs=0.05)


def test_chains_do_not_forget_what_the_flow_was_blamed_for() -> None:
    """Started from a flow over one of two wells, chains agree with each other, and are not to be
    trusted.
    """

    def wells(x: Tensor) -> Tensor:
        return torch.logaddexp(-0.5 * (x[:, 0] + 15).square(), -0.5 * (x[:, 0] - 15).square())

    whiten = diffeo.layers.Whiten(1)
    whiten.place(torch.tensor([-15.0]), torch.eye(1))
    flow = diffeo.Flow(
        diffeo.Chain([whiten, diffeo.models.realnvp(1, layers=2).transform]), diffeo.bases.Normal(1)
    )
    known = torch.randn(1_000, 1) + torch.where(torch.rand(1_000, 1) < 0.5, -15.0, 15.0)
    settings = {"effort": "mcmc", "model": flow, "steps": 50, "samples": 1_000, "scale": 10.0}
    blind = diffeo.infer(wells, 1, **settings)
    assert [a.name for a in blind.attempts] == ["flow", "mcmc"]
    assert not blind.trusted
    assert "mcmc: a mode is lost: the chains never came near 1 of 2 maxima" in blind.warnings
    compared = diffeo.infer(wells, 1, reference=known, **settings)
    assert any(w.startswith("mcmc: the mean of the chains is") for w in compared.warnings)


def test_bridge_mends_log_z_of_a_narrow_flow() -> None:
    """A flow of half the width: weights have no variance, the chains' states give log Z all the
    same.
    """
    g = torch.Generator().manual_seed(1)
    of_p, of_q = (
        2 * torch.randn(64, 500, generator=g, dtype=torch.float64),
        torch.randn(10_000, generator=g, dtype=torch.float64),
    )

    def log_w(x: Tensor) -> Tensor:
        return 5 - math.log(2) - 0.5 * ((x / 2).square() - x.square())

    value, error = bridge(log_w(of_p), log_w(of_q))
    assert abs(value - 5) < 4 * error
    assert error < 0.02


def test_draws_too_narrow_for_their_dtype_are_told() -> None:
    posterior = diffeo.infer(
        lambda x: -0.5 * (x.double() - 1e14).square().sum(1), 2, effort="flow", **FAST
    )
    assert any("too narrow" in warning for warning in posterior.warnings)
    fine = diffeo.infer(
        lambda x: -0.5 * ((x.double() - 3e6) / 0.1).square().sum(1), 2, effort="flow", **FAST
    )
    assert fine.trusted, fine.warnings
    assert fine.log_z == pytest.approx(math.log(2 * math.pi * 0.01), abs=0.02)


def test_figures_include_chains_and_the_gradient() -> None:
    found = diffeo.infer(shifted, 2, **FAST).diagnostics
    assert found.beyond is not None
    assert found.beyond < 0.01
    assert found.gradient_snr is not None
    assert found.gradient_snr >= 0


# --- flows and objectives of one's own ------------------------------------------------------------


def test_a_field_on_a_lattice() -> None:
    """The flow has the shape of the event, draws too; and the caller's flow is left as it was."""
    flow = diffeo.models.lattice((1, 4, 4), layers=4, hidden=(4,), symmetric=True, spectrum=True)
    before = {name: p.clone() for name, p in flow.state_dict().items()}

    def log_density(x: Tensor) -> Tensor:
        return -(x.square() + 0.1 * x.pow(4) - 0.3 * x * x.roll(1, -1)).flatten(1).sum(1)

    posterior = diffeo.infer(
        log_density,
        (1, 4, 4),
        model=flow,
        effort="flow",
        steps=200,
        batch_size=64,
        samples=4_000,
        lr=5e-3,
    )
    assert posterior.ess > 0.9
    assert posterior.sample(3).shape == (3, 1, 4, 4)
    x = posterior.sample(5)
    torch.testing.assert_close(posterior.log_prob(x), posterior.log_prob(-x), rtol=1e-4, atol=1e-3)
    for name, p in flow.state_dict().items():
        assert torch.equal(p, before[name])


def test_another_objective() -> None:
    posterior = diffeo.infer(shifted, 2, objective=lambda f, p: AlphaDivergence(f, p, 0.5), **FAST)
    assert posterior.log_z == pytest.approx(3, abs=0.02)


def test_flows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="5"):
        diffeo.infer(shifted, 5, model=diffeo.models.realnvp(3))
    with pytest.raises(ConfigError, match="context"):
        diffeo.infer(shifted, 3, model=diffeo.models.realnvp(3, 2))


# --- runs -----------------------------------------------------------------------------------------


def test_resume_goes_on_from_what_is_there(tmp_path: Path) -> None:
    first = diffeo.infer(shifted, 2, out=tmp_path, **FAST)
    again = diffeo.infer(shifted, 2, out=tmp_path, resume=True, **FAST)
    assert torch.equal(first.draws, again.draws)
    saved = first.counts["gradients"] - again.counts["gradients"]
    assert saved >= 60 * 256  # the training was not done again


def test_resume_with_more_steps(tmp_path: Path) -> None:
    diffeo.infer(shifted, 2, out=tmp_path, **FAST)
    longer = diffeo.infer(shifted, 2, out=tmp_path, resume=True, **(FAST | {"steps": 100}))
    assert longer.attempts[0].steps == 100


def test_resume_refuses_another_run(tmp_path: Path) -> None:
    diffeo.infer(shifted, 2, out=tmp_path, **FAST)
    with pytest.raises(CheckpointError, match="log density"):
        diffeo.infer(lambda x: 1 + shifted(x), 2, out=tmp_path, resume=True, **FAST)
    with pytest.raises(CheckpointError, match="batch_size"):
        diffeo.infer(shifted, 2, out=tmp_path, resume=True, batch_size=64, **FAST)


def test_a_signal_saves_and_resume_ends_where_it_would_have(tmp_path: Path) -> None:
    calls = [0]

    def interrupted(x: Tensor) -> Tensor:
        calls[0] += len(x) == 256
        if calls[0] == 30 and len(x) == 256:
            os.kill(os.getpid(), signal.SIGTERM)
        return shifted(x)

    with stop_on_signals(send_again=False):
        stopped = diffeo.infer(interrupted, 2, out=tmp_path / "a", effort="auto", **FAST)
    assert stopped.signum == signal.SIGTERM
    assert not stopped.trusted
    assert any("signal" in warning for warning in stopped.warnings)
    assert len(stopped.attempts) == 1
    resumed = diffeo.infer(shifted, 2, out=tmp_path / "a", resume=True, **FAST)
    whole = diffeo.infer(shifted, 2, out=tmp_path / "b", **FAST)
    assert resumed.trusted, resumed.warnings
    assert torch.equal(resumed.draws, whole.draws)


def test_fab_leaves_checkpoints_and_resumes(tmp_path: Path) -> None:
    first = diffeo.infer(shifted, 2, effort="fab", out=tmp_path, **FAST)
    again = diffeo.infer(shifted, 2, effort="fab", out=tmp_path, resume=True, **FAST)
    assert sorted(p.name for p in (tmp_path / "attempts").iterdir()) == ["annealed", "fab"]
    assert torch.equal(first.draws, again.draws)


def test_a_signal_ends_the_chains(tmp_path: Path) -> None:
    calls = [0]

    def interrupted(x: Tensor) -> Tensor:
        calls[0] += len(x) == 64
        if calls[0] == 20 and len(x) == 64:
            os.kill(os.getpid(), signal.SIGTERM)
        return shifted(x)

    with stop_on_signals(send_again=False):
        posterior = diffeo.infer(interrupted, 2, effort="mcmc", **FAST)
    assert calls[0] < 100
    assert posterior.signum == signal.SIGTERM
    assert not posterior.trusted


def test_resume_refuses_another_objective(tmp_path: Path) -> None:
    diffeo.infer(shifted, 2, out=tmp_path, **FAST)
    with pytest.raises(CheckpointError, match="objective"):
        diffeo.infer(
            shifted,
            2,
            out=tmp_path,
            resume=True,
            objective=lambda f, p: AlphaDivergence(f, p, 0.5),
            **FAST,
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 0},
        {"samples": 25.5},
        {"lr": -1.0},
        {"lr": math.nan},
        {"scale": 0.0},
        {"scale": math.inf},
        {"steps": 0},
        {"batch_size": 1},
        {"minutes": -1.0},
        {"model": None},
        {"repeats": 0},
        {"reference": torch.zeros(1, 2)},
    ],
    ids=str,
)
def test_settings_out_of_range_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        diffeo.infer(shifted, 2, **(FAST | wrong))


def test_minutes_hold_while_climbing() -> None:
    def slow(x: Tensor) -> Tensor:
        time.sleep(0.05)
        return shifted(x)

    start = time.monotonic()
    posterior = diffeo.infer(slow, 20, minutes=0.02, **FAST)
    assert time.monotonic() - start < 20
    assert not posterior.trusted


@pytest.mark.parametrize("effort", ["auto", "fab", "mcmc"])
def test_minutes_end_the_search(effort: str) -> None:
    """With what there is, weighed."""
    start = time.monotonic()
    posterior = diffeo.infer(
        funnel, 4, effort=effort, minutes=0.05, **(FAST | {"steps": 1_000_000})
    )
    assert time.monotonic() - start < 30
    assert math.isfinite(posterior.log_z)
    assert posterior.sample(3).shape == (3, 4)


def test_progress_is_told_in_nats() -> None:
    told = []
    diffeo.infer(shifted, 2, progress=told.append, **FAST)
    assert told[-1].fraction == 1
    assert "−ELBO" in str(told[-1])
    assert told[-1].valid == pytest.approx(-3, abs=0.05)


def test_arviz_gets_parameters_by_name() -> None:
    pytest.importorskip("arviz")
    posterior = diffeo.infer(lambda p: shifted(p["a"]) - p["b"].square(), {"a": 2, "b": ()}, **FAST)
    data = posterior.to_arviz(100)
    assert data.posterior["a"].shape == (1, 100, 2)
    assert data.posterior["b"].shape == (1, 100)
