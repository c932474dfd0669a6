"""`infer` as a run: starts from maxima, resuming, signals, limits, flows of one's own, and what the verdict must catch."""

from __future__ import annotations

import math
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

import diffeo
from diffeo.bases import PlacedMixture
from diffeo.core.errors import CheckpointError, ConfigError
from diffeo.inference import AlphaDivergence, all_found, laplace
from diffeo.inference.modes import weigh_modes
from diffeo.inference.probe import beyond

FAST = {"steps": 60, "samples": 2_000, "hidden": (16,), "layers": 2, "model": "realnvp"}


def shifted(x: Tensor) -> Tensor:
    """N(1, 0.5²), times e³."""
    return 3 - 0.5 * ((x - 1) / 0.5).square().sum(1) - x.shape[1] * math.log(0.5 * math.sqrt(2 * math.pi))


def four(x: Tensor) -> Tensor:
    """Normals at (±10, ±10), the masses 0.1, 0.2, 0.3, 0.4."""
    centres = torch.tensor([[-10.0, -10.0], [-10.0, 10.0], [10.0, -10.0], [10.0, 10.0]], dtype=x.dtype)
    masses = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=x.dtype)
    each = -0.5 * (x[:, None] - centres).square().sum(2) - math.log(2 * math.pi)
    return (each + masses.log()).logsumexp(1)


def skewed(x: Tensor) -> Tensor:
    """Two modes that Laplace's approximation gives wrong masses: x⁴-shaped on the right. Masses by quadrature in the test."""
    left = -0.5 * (x[:, 0] + 8).square()
    right = -0.01 * (x[:, 0] - 8).pow(4) - 0.02 * (x[:, 0] - 8).square()
    return torch.logaddexp(left, right)


def funnel(x: Tensor) -> Tensor:
    rest = -0.5 * x[:, 1:].square().sum(1) * torch.exp(-x[:, 0]) - 0.5 * (x.shape[1] - 1) * x[:, 0]
    return -0.5 * (x[:, 0] / 3).square() + rest - math.log(3) - 0.5 * x.shape[1] * math.log(2 * math.pi)


# --- maxima --------------------------------------------------------------------------------------------------------


def test_climbing_goes_on_until_no_maximum_is_new() -> None:
    """From eight starts some of four wells are missed; the search notices and goes on."""
    found = laplace(four, 2, scale=10.0)
    assert len(found) == 4
    assert all_found(found)
    assert sum(m.hits for m in found) > 8
    assert len(laplace(four, 2, scale=10.0, starts=64)) == 4


def test_a_saddle_between_two_modes_is_no_maximum() -> None:
    """p(x) = p(−x): a climb from 0 itself would stay there, and its saddle would count as a mode without a Gaussian."""
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
    base = PlacedMixture(torch.tensor([1.0, 1.0]), torch.tensor([[-8.0], [8.0]]), torch.tensor([[[1.0]], [[3.0]]]))
    flow = diffeo.Flow(diffeo.Chain([]), base)
    weigh_modes(flow, skewed, 8_192, torch.Generator().manual_seed(0))
    assert float(base.log_weights.exp()[0]) == pytest.approx(left, abs=0.02)


# --- what weights do not tell --------------------------------------------------------------------------------------


def test_short_chains_find_the_mass_that_no_draw_met() -> None:
    """A flow that has the funnel's neck and not its mouth has even weights; chains walk into the mouth."""
    base = diffeo.bases.Normal(4)
    whiten = diffeo.layers.Whiten(4)
    whiten.place(torch.tensor([-1.0, 0.0, 0.0, 0.0]), torch.diag(torch.tensor([2.0, 0.5, 0.5, 0.5])))
    flow = diffeo.Flow(diffeo.Chain([whiten]), base)
    u, log_q = flow.sample_and_log_prob((4_000,), generator=torch.Generator().manual_seed(0))
    assert beyond(funnel, flow, funnel(u) - log_q) > 0.03
    exact = diffeo.Flow(diffeo.Chain([diffeo.layers.Whiten(4)]), base)
    u, log_q = exact.sample_and_log_prob((4_000,), generator=torch.Generator().manual_seed(0))
    assert beyond(lambda x: -0.5 * x.square().sum(1), exact, -0.5 * u.square().sum(1) - log_q) < 0.01


def test_figures_include_chains_and_the_gradient() -> None:
    found = diffeo.infer(shifted, 2, **FAST).diagnostics
    assert found.beyond is not None
    assert found.beyond < 0.01
    assert found.gradient_snr is not None
    assert found.gradient_snr >= 0


# --- flows and objectives of one's own -----------------------------------------------------------------------------


def test_a_field_on_a_lattice() -> None:
    """The flow has the shape of the event, draws too; and the caller's flow is left as it was."""
    flow = diffeo.models.lattice((1, 4, 4), layers=4, hidden=(4,), symmetric=True, spectrum=True)
    before = {name: p.clone() for name, p in flow.state_dict().items()}

    def log_density(x: Tensor) -> Tensor:
        return -(x.square() + 0.1 * x.pow(4) - 0.3 * x * x.roll(1, -1)).flatten(1).sum(1)

    posterior = diffeo.infer(log_density, (1, 4, 4), model=flow, effort="flow", steps=200, batch_size=64, samples=4_000, lr=5e-3)
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


# --- runs ----------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("effort", ["auto", "fab", "mcmc"])
def test_minutes_end_the_search(effort: str) -> None:
    """With what there is, weighed."""
    start = time.monotonic()
    posterior = diffeo.infer(funnel, 4, effort=effort, minutes=0.05, **(FAST | {"steps": 1_000_000}))
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
