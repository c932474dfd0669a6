"""From a log density to a posterior: path gradients, objectives, tempering, and the verdict."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import diffeo
from cases import randomise
from diffeo.core.errors import ConfigError, InferenceError
from diffeo.inference import (
    FAB,
    AlphaDivergence,
    Annealed,
    ForwardKL,
    ImportanceWeighted,
    ReverseKL,
    VariationalObjective,
    laplace,
)
from diffeo.inference.objectives.noise import NoiseBatches
from diffeo.inference.objectives.path import decode_with_score
from test_cli import answer, run

FLOWS = {
    "nice": {"model": "nice"},
    "realnvp": {"model": "realnvp"},
    "random split": {"model": "realnvp", "split": "random"},
    "nsf": {"model": "nsf"},
    "lu": {"model": "nsf", "mixing": "lu"},
    "student": {"model": "realnvp", "base": "student_t"},
}


def flow_of(kind: str, size: int = 5) -> diffeo.Flow:
    options = dict(FLOWS[kind])
    build = diffeo.models.MODELS[options.pop("model")]
    return randomise(build((size,), layers=4, hidden=(16, 16), **options), spread=0.2).double()


def gaussian(x: Tensor) -> Tensor:
    """N(1, 0.5²) in each dimension, times e³."""
    return (
        3
        - 0.5 * ((x - 1) / 0.5).square().sum(1)
        - x.shape[1] * math.log(0.5 * math.sqrt(2 * math.pi))
    )


def banana(x: Tensor) -> Tensor:
    return -0.5 * (x[:, 0].square() + (x[:, 1:] - 0.5 * x[:, :1].square()).square().sum(1) / 0.25)


def two_wells(x: Tensor) -> Tensor:
    """Two normals 12 apart, three quarters of the mass on the right; log Z = 0."""
    each = torch.stack([-0.5 * (x - c).square().sum(1) for c in (-6.0, 6.0)], 1)
    weights = torch.tensor([0.25, 0.75], dtype=x.dtype).log()
    return (each + weights).logsumexp(1) - 0.5 * x.shape[1] * math.log(2 * math.pi)


def gradient(loss: Tensor, flow: diffeo.Flow) -> Tensor:
    grads = torch.autograd.grad(loss, list(flow.parameters()), allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(p) if g is None else g).flatten()
            for g, p in zip(grads, flow.parameters(), strict=True)
        ]
    )


# --- path gradients -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FLOWS)
def test_score_in_a_single_pass(kind: str) -> None:
    """x, log q(x) and ∂ log q / ∂x are those that the density in the other direction gives."""
    flow = flow_of(kind)
    z = flow.base.sample((32,), generator=torch.Generator().manual_seed(0))
    x, log_q, score = decode_with_score(flow, z)
    point = x.detach().requires_grad_()
    log_p = flow.log_prob(point)
    (wanted,) = torch.autograd.grad(log_p.sum(), point)
    torch.testing.assert_close(log_q, log_p, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(score, wanted, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("kind", ["realnvp", "nsf"])
def test_path_gradient_is_that_of_two_passes(kind: str) -> None:
    """∂/∂θ E [log q_fixed(x_θ) − log p̃(x_θ)], q fixed by a copy, to 1e-5 (here in float64, so far
    better).
    """
    flow = flow_of(kind)
    z = torch.randn(64, 5, dtype=torch.float64)
    single = gradient(ReverseKL(flow, gaussian).train()(z).mean(), flow)
    fixed = copy.deepcopy(flow).requires_grad_(False)
    x, _ = flow.decode(z)
    two = gradient((fixed.log_prob(x) - gaussian(x)).mean(), flow)
    torch.testing.assert_close(single, two, rtol=1e-7, atol=1e-8)


def test_path_gradient_vanishes_at_the_target() -> None:
    """Where q = p every sample's gradient is zero: that is why its variance is."""
    flow = flow_of("realnvp", 3)
    target = copy.deepcopy(flow).requires_grad_(False)
    z = torch.randn(8, 3, dtype=torch.float64)
    path = gradient(ReverseKL(flow, target.log_prob).train()(z).mean(), flow)
    total = gradient(ReverseKL(flow, target.log_prob, "total").train()(z).mean(), flow)
    assert path.abs().max() < 1e-9
    assert total.abs().max() > 1e-3


# --- objectives -----------------------------------------------------------------------------------

OBJECTIVES = {
    "reverse": lambda flow, p: ReverseKL(flow, p),
    "total": lambda flow, p: ReverseKL(flow, p, "total"),
    "weighted": lambda flow, p: ImportanceWeighted(flow, p, samples=8),
    "alpha": lambda flow, p: AlphaDivergence(flow, p, alpha=0.5),
    "forward": ForwardKL,
    "fab": lambda flow, p: FAB(flow, p, levels=2, capacity=1024, refresh=2),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_find_a_gaussian(name: str) -> None:
    """Each ends within 0.05 nats of log Z = 3, from two standard deviations away and twice as
    wide.
    """
    flow = diffeo.models.realnvp((2,), layers=2, hidden=(16,), mixing="lu")
    objective: VariationalObjective = OBJECTIVES[name](flow, gaussian).train()
    batches = NoiseBatches(base=flow.base, size=128)
    optimizer = torch.optim.Adam(flow.parameters(), 2e-2)
    for step in range(250):
        loss = objective(*batches.batch(step)).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimizer.step()
    with torch.no_grad():
        gap = objective.eval()(*batches.held_out(2000)).mean().item() + 3
    assert -0.02 < gap < 0.05


def test_bounds_are_ordered() -> None:
    """ELBO ≤ Rényi bound at ½ ≤ IW-ELBO-like log Z: values of the losses on the same noise."""
    flow = flow_of("realnvp", 2)
    z = torch.randn(4096, 2, dtype=torch.float64)
    elbo = -ReverseKL(flow, gaussian).train()(z).mean().item()
    renyi = -AlphaDivergence(flow, gaussian, 0.5).train()(z).mean().item()
    weighted = -ImportanceWeighted(flow, gaussian, 4096).train()(z).mean().item()
    assert elbo < renyi < weighted


def test_doubly_reparametrised_gradient_is_unbiased() -> None:
    """Against plain automatic differentiation of the importance-weighted bound, averaged over many
    batches.
    """
    flow = flow_of("nice", 2)
    total, doubly = [], []
    for seed in range(200):
        z = torch.randn(64, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        doubly.append(gradient(ImportanceWeighted(flow, gaussian, 4).train()(z).mean(), flow))
        x, logdet = flow.decode(z)
        log_w = gaussian(x) - flow.base.log_prob(z) + logdet
        total.append(gradient(-(log_w.view(-1, 4).logsumexp(1) - math.log(4)).mean(), flow))
    a, b = torch.stack(doubly), torch.stack(total)
    error = (a.var(0) / 200 + b.var(0) / 200).sqrt()
    z_scores = (a.mean(0) - b.mean(0))[error > 1e-12] / error[error > 1e-12]
    assert z_scores.square().mean() < 1.5
    assert len(z_scores) > 50


# --- tempering and starts -------------------------------------------------------------------------


def test_annealing_ends_at_the_target_and_is_part_of_the_state() -> None:
    annealed = Annealed(banana, slowest=0.05).train()
    x = torch.randn(500, 3)
    betas = [float(annealed.beta)]
    while betas[-1] < 1:
        annealed(x)
        betas.append(float(annealed.beta))
    assert 2 < len(betas) < 22
    assert betas == sorted(betas)
    torch.testing.assert_close(annealed(x), banana(x))
    fresh = Annealed(banana)
    torch.testing.assert_close(fresh.eval()(x), banana(x))  # evaluation is always of the target
    fresh.load_state_dict(annealed.state_dict())
    assert float(fresh.beta) == 1.0


def test_laplace_of_a_gaussian_is_exact() -> None:
    covariance = torch.tensor([[2.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
    target = torch.distributions.MultivariateNormal(
        torch.tensor([1.0, -2.0], dtype=torch.float64), covariance
    )
    (found,) = laplace(lambda u: 5 + target.log_prob(u), 2)
    torch.testing.assert_close(found.lower @ found.lower.T, covariance, rtol=1e-5, atol=1e-5)
    assert found.log_z == pytest.approx(5, abs=1e-5)
    assert found.proper


def test_laplace_finds_every_maximum() -> None:
    found = laplace(two_wells, 2, scale=5.0, starts=16)
    assert [round(float(m.mode[0])) for m in found] == [6, -6]
    assert found[0].log_z == pytest.approx(math.log(0.75), abs=1e-3)


# --- the whole ------------------------------------------------------------------------------------


def test_infer_a_gaussian() -> None:
    posterior = diffeo.infer(gaussian, 3, steps=50, samples=2000)
    assert posterior.trusted
    assert posterior.warnings == []
    assert posterior.log_z == pytest.approx(3, abs=0.01)
    assert posterior.sample(7).shape == (7, 3)
    x = torch.ones(1, 3)
    assert posterior.log_prob(x).item() == pytest.approx(gaussian(x).item() - 3, abs=0.05)
    assert [a.name for a in posterior.attempts] == ["flow"]


def test_named_parameters_in_their_supports() -> None:
    """Gamma(3, 2) and a simplex: means and spreads to a few standard errors, names as in tables."""

    def log_density(p: dict[str, Tensor]) -> Tensor:
        rate = torch.distributions.Gamma(3.0, 2.0).log_prob(p["rate"])
        return rate + torch.distributions.Dirichlet(torch.tensor([2.0, 3.0, 5.0])).log_prob(
            p["share"]
        )

    posterior = diffeo.infer(
        log_density, {"rate": "positive", "share": (3, "simplex")}, steps=200, samples=4000
    )
    assert posterior.trusted, posterior.warnings
    assert posterior.log_z == pytest.approx(0, abs=0.02)
    rows = {row["name"]: row for row in posterior.summary()}
    assert list(rows) == ["rate", "share[0]", "share[1]", "share[2]"]
    assert rows["rate"]["mean"] == pytest.approx(1.5, abs=0.05)
    assert rows["rate"]["sd"] == pytest.approx(math.sqrt(3) / 2, abs=0.05)
    assert rows["share[2]"]["mean"] == pytest.approx(0.5, abs=0.02)
    frame = posterior.to_dataframe(50)
    assert list(frame.columns) == list(rows)
    assert (frame["rate"] > 0).all()


def narrow_flow() -> diffeo.Flow:
    """Over the well at −6 only."""
    whiten = diffeo.layers.Whiten(1)
    whiten.place(torch.tensor([-6.0]), torch.eye(1))
    return diffeo.Flow(
        diffeo.Chain([whiten, diffeo.models.nsf(1, layers=2).transform]), diffeo.bases.Normal(1)
    )


def test_reverse_kl_that_drops_a_mode_is_not_trusted() -> None:
    """A flow of one's own is not tempered: it sits in one well and the verdict says so; from a wide
    start it finds both.
    """
    narrow = diffeo.infer(
        two_wells, 1, effort="flow", model=narrow_flow(), steps=100, samples=2000, scale=5.0
    )
    assert not narrow.trusted
    assert any("a mode is lost" in reason for reason in narrow.warnings)
    wide = diffeo.infer(two_wells, 1, effort="annealed", steps=300, samples=4000, scale=5.0)
    assert wide.trusted, wide.warnings
    assert wide.log_z == pytest.approx(0, abs=0.02)


def test_repeats_and_reference_draws() -> None:
    x = 1 + 0.5 * torch.randn(2000, 2)
    posterior = diffeo.infer(gaussian, 2, steps=30, samples=2000, repeats=2, reference=x)
    assert posterior.trusted, posterior.warnings
    assert posterior.diagnostics.eubo == pytest.approx(3, abs=0.02)
    wells = torch.randn(2000, 1) + torch.where(torch.rand(2000, 1) < 0.25, -6.0, 6.0)
    narrow = diffeo.infer(
        two_wells, 1, effort="flow", model=narrow_flow(), steps=100, samples=2000, reference=wells
    )
    assert any("reference draws" in reason for reason in narrow.warnings), narrow.warnings


@pytest.mark.slow
def test_chains_help_where_the_flow_does_not() -> None:
    posterior = diffeo.infer(banana, 3, effort="mcmc", model="realnvp", steps=300, samples=1000)
    assert posterior.chains is not None
    assert posterior.trusted, posterior.warnings
    x = posterior.columns()
    assert x[:, 0].var().item() == pytest.approx(1, abs=0.1)


def test_an_improper_density_is_not_trusted() -> None:
    posterior = diffeo.infer(
        lambda x: -x[:, 0].square() + 0 * x[:, 1], 2, effort="flow", steps=100, samples=2000
    )
    assert not posterior.trusted
    assert posterior.warnings


def test_settings_and_functions_that_cannot_be_used() -> None:
    with pytest.raises(ConfigError, match="effort"):
        diffeo.infer(gaussian, 2, effort="more")  # type: ignore[arg-type]
    with pytest.raises(InferenceError, match="NaN"):
        diffeo.infer(lambda x: x.sum(1) * math.nan, 2)
    with pytest.raises(InferenceError):
        diffeo.infer(lambda x: "high", 2)


# --- the command ----------------------------------------------------------------------------------

FILE = """
import torch
parameters = {"rate": "positive", "w": (2, "real")}
def log_density(p):
    return torch.distributions.Gamma(3.0, 2.0).log_prob(p["rate"]) - 0.5 * p["w"].square().sum(1)
def plain(x):
    return -0.5 * x.square().sum(1)
"""


def test_infer_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.py").write_text(FILE)
    (tmp_path / "plain.py").write_text(FILE.replace("parameters", "_unused"))
    words = ["--steps", "40", "-n", "1000", "--quiet", "--json"]
    assert run("infer", f"{tmp_path}/model.py:log_density", "--out", tmp_path / "a", *words) == 0
    found = answer(capsys)
    assert found["trusted"] is True
    assert found["log_z"] == pytest.approx(math.log(2 * math.pi), abs=0.05)
    table = diffeo.read_table(tmp_path / "a" / "draws.parquet")
    assert list(table.schema.names) == ["rate", "w[0]", "w[1]"]
    assert len(table) == 1000
    assert json.loads((tmp_path / "a" / "posterior.json").read_text())["trusted"] is True
    assert (
        run("infer", f"{tmp_path}/plain.py:plain", "--dim", 2, "--out", tmp_path / "b", *words) == 0
    )


LOUD = """
from __future__ import annotations
import dataclasses
print("hello")
@dataclasses.dataclass
class A:
    b: int = 1
def f(x):
    print("f")
    return -x.square().sum(1)
"""


def test_what_the_file_prints_is_not_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And dataclasses with postponed annotations, which look for their module, work."""
    (tmp_path / "loud.py").write_text(LOUD)
    assert (
        run(
            "infer",
            f"{tmp_path}/loud.py:f",
            "--dim",
            2,
            "--out",
            tmp_path / "a",
            "--steps",
            20,
            "-n",
            500,
            "--json",
        )
        == 0
    )
    assert answer(capsys)["trusted"] is True


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.py"], "write FILE.py:FUNCTION"),
        (["none.py:f"], "no such file"),
        (["model.py:other"], "it has log_density, plain"),
        (["model.py:log_density", "--dim", "3"], "leave --dim out"),
        (["plain.py:plain"], "give --dim"),
        (["plain.py:plain", "--dim", "2", "--effort", "more"], "unknown effort"),
        (["broken.py:f", "--dim", "2"], "ZeroDivisionError while importing"),
        (["leaves.py:f", "--dim", "2"], "SystemExit while importing"),
        (["five.py:f"], "not a mapping"),
    ],
)
def test_bad_log_densities_get_one_line(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(FILE)
    (tmp_path / "plain.py").write_text(FILE.replace("parameters", "_unused"))
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "leaves.py").write_text("import sys; sys.exit(3)")
    (tmp_path / "five.py").write_text("parameters = 5\ndef f(x): return -x.sum(1)")
    assert run("infer", *words, "--out", "out") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
