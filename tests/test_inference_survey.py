"""What `infer` rests on besides a flow: tempered Monte Carlo, maxima of unlike widths, and what
they say of log Z.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

import diffeo
from diffeo.inference import (
    Jeffreys,
    Laplace,
    ReverseKL,
    Survey,
    Target,
    laplace,
    survey,
    tempered_smc,
)
from diffeo.inference.modes.laplace import climb_from
from diffeo.inference.modes.smc import Populations, Reference
from diffeo.inference.modes.survey import agreement
from diffeo.inference.modes.unexplained import climb_where_unexplained
from diffeo.inference.search import Search
from diffeo.inference.target.space import Space

FAST = {"steps": 60, "samples": 4_000, "hidden": (16,), "layers": 2, "model": "realnvp"}
LOG_2PI = math.log(2 * math.pi)


def boxed(x: Tensor) -> Tensor:
    """25 unit Gaussians in 6 dimensions, in a box of side 30: log Z = 0."""
    means = (torch.rand(25, 6, generator=torch.Generator().manual_seed(7)) - 0.5) * 30
    away = (x[:, None] - means.to(x)).square().sum(2)
    return (-0.5 * away).logsumexp(1) - math.log(25) - 3 * LOG_2PI


def unlike(x: Tensor) -> Tensor:
    """A Gaussian with standard deviations from 1e-6 to 1e6, off zero: log Z = 0."""
    sd = torch.logspace(-6, 6, 5, dtype=torch.float64)
    z = x.double() / sd - torch.tensor([2.0, -1.0, 3.0, 0.5, -2.0])
    return -0.5 * z.square().sum(1) - float(sd.log().sum()) - 2.5 * LOG_2PI


def half(x: Tensor) -> Tensor:
    """A Gaussian where x0 + x1 < 0: log Z = −log 2."""
    return torch.where(
        x.sum(1) < 0, -0.5 * x.square().sum(1) - 0.5 * x.shape[1] * LOG_2PI, -math.inf
    )


def shell(x: Tensor) -> Tensor:
    """A ring of radius 6 and width 0.5; log Z = log(2π · 6 · 0.5 √(2π)) up to 1e-8."""
    return -0.5 * ((x.square().sum(1).clamp_min(1e-20).sqrt() - 6) / 0.5).square()


def wide(size: int, sd: float) -> Reference:
    return Reference(
        torch.zeros(size, dtype=torch.float64), sd * torch.eye(size, dtype=torch.float64)
    )


# --- tempered Monte Carlo -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "size", "sd", "log_z"),
    [
        (boxed, 6, 20.0, 0.0),
        (half, 2, 10.0, -math.log(2)),
        (shell, 2, 20.0, math.log(6 * math.pi * math.sqrt(2 * math.pi))),
    ],
)
def test_log_z_by_tempering_agrees_with_the_truth(
    target: object, size: int, sd: float, log_z: float
) -> None:
    found = tempered_smc(target, wide(size, sd), seed=1)
    value, error = found.estimate()
    assert found.complete
    assert error < 0.3
    assert abs(value - log_z) < 4 * error


def test_particles_have_the_targets_moments() -> None:
    found = tempered_smc(lambda u: -0.5 * ((u - 3) / 0.1).square().sum(1), wide(3, 10.0))
    x = found.particles.flatten(0, 1)
    assert float((x.mean(0) - 3).abs().max()) < 0.02
    assert x.std(0).tolist() == pytest.approx([0.1] * 3, rel=0.1)


def test_populations_know_nothing_of_each_other() -> None:
    found = tempered_smc(shell, wide(2, 20.0), particles=128)
    assert found.particles.shape == (4, 128, 2)
    assert len(found.log_z.unique()) == 4
    assert 4 <= found.lineages <= 512
    seen, held = found.split()
    torch.testing.assert_close(torch.cat([seen.log_z, held.log_z]), found.log_z)


def test_tempering_that_is_stopped_says_so() -> None:
    assert not tempered_smc(shell, wide(2, 20.0), particles=64, should_stop=lambda: True).complete
    nowhere = tempered_smc(
        lambda u: torch.where(u[:, 0] > 1e9, u[:, 0], -math.inf), wide(2, 1.0), particles=16
    )
    assert not nowhere.complete


# --- maxima ---------------------------------------------------------------------------------------


def test_an_island_too_small_for_a_wide_reference_is_entered_from_a_narrower_one() -> None:
    def island(x: Tensor) -> Tensor:
        return torch.where((x.abs() < 1).all(1), 0 * x.sum(1), -math.inf)

    found = survey(island, 4, laplace(island, 4))
    assert found.complete
    value, error = found.estimate()
    assert abs(value - 4 * math.log(2)) < 4 * error < 0.5


def test_what_maxima_do_not_describe_gets_an_annealed_flow_before_chains() -> None:
    """Funnels: their particles' moments say nothing of the neck, and reverse KL from there does not
    come back.
    """
    known = Survey([], wide(2, 1.0))
    known.whole = Populations(
        torch.zeros(4, 100, 2), torch.zeros(4), torch.arange(100).repeat(4, 1), 1, complete=True
    )
    settings = SimpleNamespace(model="nsf", objective=ReverseKL)
    assert Search(fitting=SimpleNamespace(survey=known, settings=settings)).plan() == (
        "particles",
        "annealed",
        "mcmc",
    )  # type: ignore[arg-type]


def narrower(x: Tensor) -> Tensor:
    """Four Gaussians in 30 dimensions with standard deviations of 0.7 to 1.2, 15 apart: log Z =
    0.
    """
    means = 10.6 * torch.eye(4, 30, dtype=torch.float64)
    sd = torch.tensor([0.7, 0.85, 1.0, 1.2], dtype=torch.float64)
    away = ((x.double()[:, None] - means) / sd[:, None]).square().sum(2)
    return (-0.5 * away - 30 * sd.log()).logsumexp(1) - math.log(4) - 15 * LOG_2PI


def test_modes_that_a_wide_one_outshines_are_found_where_it_explains_least() -> None:
    maxima = laplace(narrower, 30)
    assert len(maxima) < 4
    climb_where_unexplained(maxima, narrower, 30)
    assert len(maxima) == 4


def test_one_maximum_that_explains_all_stays_the_only_one() -> None:
    maxima = laplace(unlike, 5)
    climb_where_unexplained(maxima, unlike, 5)
    assert len(maxima) == 1


def test_modes_of_unlike_width_in_many_dimensions_are_an_objection() -> None:
    def told(size: int, sd: float) -> list[str]:
        eye = torch.eye(size, dtype=torch.float64)
        maxima = [Laplace(eye[0], width * eye, 0.0, proper=True) for width in (1.0, sd)]
        known = Survey(maxima, wide(size, 1.0))
        known.whole = Populations(
            torch.zeros(4, 100, 2), torch.zeros(4), torch.arange(100).repeat(4, 1), 1, complete=True
        )
        return agreement(known, 0.0, 0.01)

    assert told(20, 0.9) == []
    assert told(5, 0.1) == []
    assert "narrower ones may have been missed" in told(20, 0.5)[0]


def test_coordinates_of_unlike_scales_are_climbed_to_the_top() -> None:
    (top,) = laplace(unlike, 5)
    assert top.proper
    assert top.log_z == pytest.approx(0, abs=1e-6)
    assert top.lower.diagonal().tolist() == pytest.approx(
        torch.logspace(-6, 6, 5).tolist(), rel=1e-4
    )


def test_a_ridge_of_width_1e_4_is_a_gaussian() -> None:
    turn = torch.linalg.qr(
        torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )[0]
    sd = torch.tensor([1e-4, 1.0, 1.0], dtype=torch.float64)
    (top,) = laplace(lambda x: -0.5 * ((x.double() @ turn) / sd).square().sum(1), 3)
    assert top.proper
    assert top.log_z == pytest.approx(math.log(1e-4) + 1.5 * LOG_2PI, abs=1e-3)


def test_a_ring_has_no_gaussian_but_a_width() -> None:
    found = laplace(shell, 2)
    assert found
    assert not any(m.proper for m in found)
    # Along the ring log p̃ falls by half a nat where s² / 2r is the width: s = √(2 · 6 · 0.5).
    assert float(torch.linalg.svdvals(found[0].lower)[0]) == pytest.approx(math.sqrt(6), rel=0.3)


# --- the two together -----------------------------------------------------------------------------


def test_all_modes_in_a_box_are_found_and_log_z_is_right() -> None:
    posterior = diffeo.infer(boxed, 6, **FAST)
    assert posterior.trusted, posterior.warnings
    assert abs(posterior.log_z) < 4 * posterior.log_z_se < 0.05


def test_modes_that_no_climb_has_found_show_in_the_particles() -> None:
    """The survey is told of one maximum of 25."""
    target = Target(boxed, Space.of(6))
    one: list[Laplace] = []
    climb_from(one, target, torch.zeros(1, 6, dtype=torch.float64))
    assert len(survey(target, 6, one).maxima) == 25


def test_unlike_scales_are_trusted() -> None:
    posterior = diffeo.infer(unlike, 5, effort="flow", **FAST)
    assert posterior.trusted, posterior.warnings
    assert abs(posterior.log_z) < 4 * posterior.log_z_se < 0.05


def test_a_flow_over_one_of_two_modes_is_not_trusted() -> None:
    """Its weights are even; the particles held apart are not where it is."""

    def two(x: Tensor) -> Tensor:
        each = [-0.5 * (x - at).square().sum(1) for at in (-8.0, 8.0)]
        return torch.logaddexp(*each)

    whiten = diffeo.layers.Whiten(2)
    whiten.place(torch.tensor([8.0, 8.0]), torch.eye(2))
    flow = diffeo.Flow(
        diffeo.Chain([whiten, diffeo.models.realnvp(2, layers=2).transform]), diffeo.bases.Normal(2)
    )
    posterior = diffeo.infer(two, 2, effort="flow", **(FAST | {"model": flow}))
    assert posterior.diagnostics.beyond == pytest.approx(0.5, abs=0.1)
    assert not posterior.trusted
    assert any(
        "by tempering from a wide start: mass is missing" in warning
        for warning in posterior.warnings
    )


@pytest.mark.parametrize(
    ("log_z", "populations", "reason"),
    [
        (0.0, [0.0, 0.1, -0.1, 0.0], None),
        (-1.0, [0.0, 0.1, -0.1, 0.0], "mass is missing"),
        (0.5, [0.0, 0.1, -0.1, 0.0], None),
        (2.0, [0.0, 0.1, -0.1, 0.0], "cannot vouch"),
        (0.0, [-9.0, -9.0, -9.0, 0.0], "too rough"),
        (0.0, None, "did not come to its end"),
    ],
)
def test_agreement_with_the_populations(
    log_z: float, populations: list[float] | None, reason: str | None
) -> None:
    values = torch.tensor(populations or [0.0] * 4, dtype=torch.float64)
    ancestors = torch.arange(1_000).repeat(4, 1)
    made = Populations(
        torch.zeros(4, 1_000, 2), values, ancestors, levels=9, complete=populations is not None
    )
    known = Survey([], wide(2, 1.0))
    known.whole = made
    reasons = agreement(known, log_z, 0.01)
    assert reasons == [] if reason is None else reason in reasons[0]


def test_jeffreys_divergence_sees_a_mode_that_the_flow_left_out() -> None:
    """Reverse KL has no gradient towards it, the draws have."""
    flow = diffeo.models.realnvp(1, layers=2, hidden=(8,))
    draws = torch.tensor([[0.0]] * 50 + [[30.0]] * 50, dtype=torch.float64)
    objective = Jeffreys(flow, lambda u: -0.5 * u.square().sum(1), draws).train()
    z = torch.randn(64, 1, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert float(ReverseKL(flow, objective.target).eval()(z).mean()) < 1
        assert float(objective.eval()(z).mean()) > 100


def test_a_ring_and_a_half_space_are_right_by_way_of_particles() -> None:
    for target, log_z in (
        (shell, math.log(6 * math.pi * math.sqrt(2 * math.pi))),
        (half, -math.log(2)),
    ):
        posterior = diffeo.infer(
            target,
            2,
            effort="particles",
            **(FAST | {"steps": 400, "layers": 4, "hidden": (32, 32)}),
        )
        assert abs(posterior.log_z - log_z) < 4 * posterior.log_z_se < 0.3
        assert posterior.attempts[0].name == "particles"
