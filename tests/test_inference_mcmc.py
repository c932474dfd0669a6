"""Moves that leave the target alone, chains that find it through a flow, and what happens at walls
and cliffs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import diffeo
from diffeo.core.errors import ConfigError, ContextError, ExactnessError, InferenceError, ShapeError
from diffeo.inference import Chains, hmc_step, latent_chains
from diffeo.inference.chains.hmc import StepSize, hmc_move, metropolis
from diffeo.inference.target.density import evaluate

COVARIANCE = torch.tensor(
    [[1.0, 0.9, 0.0], [0.9, 1.5, -0.3], [0.0, -0.3, 0.5]], dtype=torch.float64
)
MEAN = torch.tensor([0.5, -1.0, 0.0], dtype=torch.float64)


def gaussian(u: Tensor) -> Tensor:
    """N(MEAN, COVARIANCE) times e^7."""
    rows = u - MEAN.to(u)
    return 7 - 0.5 * (rows @ COVARIANCE.inverse().to(u) * rows).sum(1)


def identity(d: int, base: diffeo.Distribution | None = None) -> diffeo.Flow:
    return diffeo.Flow(
        diffeo.Chain([diffeo.layers.Permute(list(range(d)))]), base or diffeo.bases.Normal(d)
    )


def crooked(d: int) -> diffeo.Flow:
    """Couplings whose parameters are noise: a change of variables with a Jacobian that matters."""
    flow = diffeo.models.realnvp((d,), layers=3, hidden=(8,), seed=0)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator(1))
    return flow


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def near(values: Tensor, truth: Tensor | float, ess: Tensor | float, errors: float = 4.0) -> bool:
    """Is the mean of values (S, ...) the truth, within standard errors of `ess` independent
    draws?
    """
    values = values.double()
    return bool(
        (
            (values.mean(0) - truth).abs() <= errors * values.std(0) / torch.as_tensor(ess).sqrt()
        ).all()
    )


def moments_are_right(found: Chains, mean: Tensor, covariance: Tensor) -> None:
    """Means by the bulk ESS, second moments by the ESS of the squares."""
    rows = found.samples.double()
    assert near(rows.flatten(0, 1), mean, found.ess_bulk)
    products = ((rows - mean)[..., :, None] * (rows - mean)[..., None, :]).flatten(2)
    assert near(products.flatten(0, 1), covariance.flatten(), diffeo.inference.ess_bulk(products))


# --- one move -------------------------------------------------------------------------------------


def double_well(z: Tensor) -> Tensor:
    return (-z.pow(4) + 2 * z.square() + 0.5 * z).sum(1)


def draws_of_double_well(n: int, seed: int) -> Tensor:
    """Exact ones, by inversion on a grid."""
    grid = torch.linspace(-3, 3, 20_001, dtype=torch.float64)
    below = double_well(grid[:, None]).exp().cumsum(0)
    return grid[
        torch.searchsorted(
            below / below[-1], torch.rand(n, generator=generator(seed), dtype=torch.float64)
        )
    ][:, None]


@pytest.mark.parametrize(("step", "leapfrogs"), [(0.1, 1), (0.35, 3), (0.6, 2)])
def test_a_move_is_in_detailed_balance(step: float, leapfrogs: int) -> None:
    """From exact draws z to z': both have the law of the target, and (z, z') is distributed as (z',
    z).
    """
    z = draws_of_double_well(100_000, 1)
    moved, accepted, chance = hmc_step(
        double_well, z, step_size=step, leapfrogs=leapfrogs, generator=generator(2)
    )
    assert near(moved, z.mean(), 50_000)
    assert near(moved.square(), z.square().mean(), 50_000)
    assert near(z * moved.pow(3) - z.pow(3) * moved, 0.0, 100_000)
    assert near(z * moved.square() - z.square() * moved, 0.0, 100_000)
    assert torch.equal(accepted, (moved != z).squeeze(1))
    assert float(accepted.double().mean()) == pytest.approx(float(chance.mean()), abs=0.01)
    assert 0.3 < chance.mean() < (0.999 if step > 0.3 else 1.0)


def test_a_move_has_steps_of_its_own_per_row() -> None:
    """Tiny steps are accepted and lead nowhere, huge ones are refused; neither minds the other."""
    z = torch.randn(200, 3, generator=generator(1))
    step = torch.cat([torch.full((100,), 1e-4), torch.full((100,), 50.0)])
    moved, accepted, _ = hmc_step(gaussian, z, step_size=step, leapfrogs=4, generator=generator(2))
    assert accepted[:100].all()
    assert 0 < (moved - z)[:100].abs().max() < 0.01
    assert not accepted[100:].any()
    assert torch.equal(moved[100:], z[100:])


def test_a_move_keeps_no_graph_and_takes_any_event() -> None:
    weight = torch.ones(2, 2, requires_grad=True)
    z = torch.zeros(5, 2, 2, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        moved, accepted, chance = hmc_step(
            lambda z: -(weight * z.square()).flatten(1).sum(1),
            z,
            step_size=0.3,
            leapfrogs=2,
            generator=generator(),
        )
    assert moved.shape == (5, 2, 2)
    assert moved.dtype == torch.float64
    assert accepted.dtype == torch.bool
    assert not moved.requires_grad
    assert not chance.requires_grad
    assert z.grad is None
    assert weight.grad is None


def test_moves_come_from_the_generator_alone() -> None:
    state = torch.get_rng_state()
    z = torch.zeros(10, 3)
    first, again, other = (
        hmc_step(gaussian, z, step_size=0.3, leapfrogs=2, generator=generator(seed))[0]
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())


def test_energy_is_conserved_to_second_order() -> None:
    """Over a fixed time the error of a leapfrog trajectory falls fourfold when its step is
    halved.
    """
    z = torch.randn(500, 3, generator=generator(1), dtype=torch.float64)
    errors = []
    for leapfrogs in (8, 16, 32):
        _, _, chance = hmc_step(
            gaussian, z, step_size=1.6 / leapfrogs, leapfrogs=leapfrogs, generator=generator(3)
        )
        errors.append(float(-chance.log().mean()))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.25)


def test_gradients_that_are_not_finite_cost_acceptance_only() -> None:
    """A density with NaN gradients on half of the line: the law is kept all the same."""

    def target(z: Tensor) -> Tensor:
        # NaN in the gradient, and in the value
        broken = (z - z.detach()) * torch.where(z < 0, math.nan, 0.0)
        return (
            -0.5 * z.square() + torch.where(z < 0, broken - broken.detach(), 0.0).nan_to_num()
        ).sum(1)

    z = torch.randn(50_000, 1, generator=generator(1))
    assert not evaluate(target, z).grad.isnan().any()
    moved, accepted, _ = hmc_step(target, z, step_size=0.5, leapfrogs=3, generator=generator(2))
    assert accepted.double().mean() > 0.3
    assert near(moved, 0.0, 50_000)
    assert near(moved.square(), 1.0, 50_000)


def test_divergences_are_refused_and_counted() -> None:
    """A cliff of 1e6 nats, a step that overflows, and a wall: the first two diverge, none is
    entered, nothing is NaN.
    """
    state = evaluate(lambda z: -1e6 * z.square().sum(1), torch.full((50, 2), 1e-3))
    steep = hmc_move(
        lambda z: -1e6 * z.square().sum(1), state, step_size=0.5, leapfrogs=3, generator=generator()
    )
    assert steep.diverged.all()
    assert not steep.accepted.any()

    def flat(z: Tensor) -> Tensor:
        assert z.isfinite().all()
        return 0 * z[:, 0]

    huge = hmc_move(
        flat,
        evaluate(flat, torch.full((50, 20), 1e38)),
        step_size=3e38,
        leapfrogs=5,
        generator=generator(),
    )
    assert huge.diverged.all()
    assert not huge.accepted.any()
    assert (huge.state.z == 1e38).all()

    def wall(z: Tensor) -> Tensor:
        return torch.where(z[:, 0] > 0, 0.0, -math.inf)

    ends = hmc_move(
        wall,
        evaluate(wall, torch.full((500, 1), 0.5)),
        step_size=1.0,
        leapfrogs=1,
        generator=generator(),
    )
    assert not ends.diverged.any()
    assert 0.5 < ends.accepted.double().mean() < 0.9
    assert (ends.state.z > 0).all()


def test_metropolis() -> None:
    ratio = torch.tensor(
        [math.inf, 0.0, -math.inf, math.nan, math.log(0.25)], dtype=torch.float64
    ).repeat_interleave(40_000)
    accepted, chance = metropolis(ratio, generator())
    assert chance[::40_000].tolist() == pytest.approx([1, 1, 0, 0, 0.25])
    assert accepted.view(5, -1).double().mean(1).tolist() == pytest.approx(
        [1, 1, 0, 0, 0.25], abs=0.01
    )


def test_step_size_stays_within_reason() -> None:
    for acceptance, low, high in ((0.0, 1e-14, 1e-6), (1.0, 10.0, 1e5)):
        size = StepSize(0.3)
        for _ in range(5000):
            size.update(acceptance)
        assert low < size.settled < high
        assert low < size.value < high


@pytest.mark.parametrize(
    "target", [lambda z: z.sum(), lambda z: z.sum(1, keepdim=True), lambda z: z.sum(1)[1:]]
)
def test_a_density_of_the_wrong_shape(target: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ShapeError, match="one number per point"):
        hmc_step(target, torch.zeros(4, 2), step_size=0.1, leapfrogs=1, generator=generator())
    with pytest.raises(ShapeError, match="one number per point"):
        latent_chains(target, identity(2), chains=4)


# --- chains ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("local", [0.0, 1.5])
@pytest.mark.parametrize("build", [identity, crooked])
def test_a_correlated_gaussian(build: Callable[[int], diffeo.Flow], local: float) -> None:
    """Through no flow at all and through a wrong one, with and without Hamiltonian moves: the same
    posterior.
    """
    found = latent_chains(gaussian, build(3), chains=32, steps=300, warmup=100, local=local)
    assert found.samples.shape == (32, 300, 3)
    assert found.complete
    assert (found.rhat < (1.03 if local else 1.3)).all()
    moments_are_right(found, MEAN, COVARIANCE)
    if local:
        assert found.local_acceptance == pytest.approx(0.8, abs=0.1)
        assert found.ess_bulk.min() > 2000
    else:
        assert math.isnan(found.local_acceptance)


def test_proposals_alone_are_exact() -> None:
    """A flow somewhat too wide and off centre: mean and variance to a percent from 2,000 chains."""
    found = latent_chains(
        lambda u: -0.5 * ((u[:, 0] - 0.3) / 0.8).square(),
        identity(1),
        chains=2000,
        steps=60,
        warmup=20,
        local=0,
    )
    moments_are_right(found, torch.tensor([0.3]), torch.tensor([[0.64]]))
    assert found.ess_bulk > 30_000


def test_a_funnel() -> None:
    """v ~ N(0, 1), x ~ N(0, e^2v): scales from 0.05 to 20 through no flow at all."""

    def funnel(u: Tensor) -> Tensor:
        v, x = u[:, 0], u[:, 1:]
        return -0.5 * v.square() - 0.5 * x.square().sum(1) * (-2 * v).exp() - x.shape[1] * v

    found = latent_chains(funnel, identity(2), chains=64, steps=600, warmup=300)
    v = found.samples[..., :1].double()
    assert found.samples.isfinite().all()
    assert near(v.flatten(0, 1), 0.0, found.ess_bulk[:1])
    assert near(v.square().flatten(0, 1), 1.0, diffeo.inference.ess_bulk(v.square()))
    white = found.samples[..., 1:].double() * (-v).exp()  # x e^−v is standard normal
    assert near(white.square().flatten(0, 1), 1.0, diffeo.inference.ess_bulk(white.square()))
    assert found.rhat.max() < 1.05


def test_proposals_of_a_perfect_flow_are_always_accepted() -> None:
    flow = crooked(2)
    found = latent_chains(lambda u: flow.log_prob(u) + 3, flow, chains=16, steps=100, warmup=20)
    assert found.independent_acceptance == pytest.approx(1, abs=0.01)
    assert found.verdict() == (True, [])


def test_proposals_carry_chains_between_modes() -> None:
    """Modes 12 apart of weights 0.2 and 0.8: with a wide base each chain visits both; with a narrow
    one R-hat warns.
    """

    def modes(u: Tensor) -> Tensor:
        u = u[:, 0]
        return torch.logaddexp(
            math.log(0.2) - 0.5 * (u + 6).square(), math.log(0.8) - 0.5 * (u - 6).square()
        )

    wide = identity(1, diffeo.bases.StudentT(1, df=1.0))
    found = latent_chains(modes, wide, chains=32, steps=800, warmup=100)
    right = (found.samples > 0).double()
    assert near(right.flatten(0, 1), 0.8, diffeo.inference.ess_bulk(right))
    assert found.rhat.max() < 1.05
    stuck = latent_chains(modes, identity(1), chains=32, steps=100, warmup=50)
    trusted, reasons = stuck.verdict()
    assert not trusted
    assert reasons[0].startswith("R-hat is ")
    assert "run longer chains" in reasons[1]


def test_walls() -> None:
    """Exponential in one, uniform on (0, 1) in the other coordinate: no density outside, no
    gradient across.

    Trajectories get short enough for half of them to end inside, and do not take many steps for
    that.
    """

    def target(u: Tensor) -> Tensor:
        inside = (u[:, 0] > 0) & (u[:, 1] > 0) & (u[:, 1] < 1)
        return torch.where(inside, -u[:, 0], -math.inf)

    found = latent_chains(target, identity(2), chains=32, steps=500, warmup=100)
    assert (found.samples > 0).all()
    assert (found.samples[..., 1] < 1).all()
    assert 0.4 < found.local_acceptance < 0.8
    assert found.evaluations < 32 * 600 * 5
    moments_are_right(
        found, torch.tensor([1.0, 0.5]), torch.tensor([[1.0, 0.0], [0.0, 1 / 12]]).double()
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_is_outside(bad: float) -> None:
    """A half line beyond which the density is NaN (or +inf): as if it were zero there."""
    found = latent_chains(
        lambda u: torch.where(u[:, 0] < 1, -0.5 * u[:, 0].square(), bad),
        identity(1),
        chains=32,
        steps=400,
        warmup=100,
    )
    assert (found.samples < 1).all()
    mean = -math.exp(-0.5) / math.sqrt(2 * math.pi) / 0.8413447
    assert near(found.samples.flatten(0, 1), mean, found.ess_bulk)


def test_the_target_is_shown_numbers_only() -> None:
    """A flow that decodes some latents to infinity: those rows never reach the target, and none
    comes back.
    """
    shown: list[bool] = []

    def target(u: Tensor) -> Tensor:
        shown.append(bool(u.isfinite().all()) and len(u) > 0)
        return -0.5 * u.square().sum(1)

    flow = identity(2)
    decode = flow.decode
    flow.decode = lambda z, context=None: (decode(z)[0] / (z[:, :1] < 1), decode(z)[1])  # type: ignore[method-assign]
    found = latent_chains(target, flow, chains=32, steps=200, warmup=50)
    assert all(shown)
    assert found.evaluations < 0.95 * len(shown) * 32
    assert (found.samples[..., 0] < 1).all()
    assert found.samples.isfinite().all()
    assert near(found.samples[..., 1].flatten()[:, None], 0.0, found.ess_bulk[1:])


def test_steepness_shows_as_divergences() -> None:
    """A Gaussian of spread 1e-4 beside a broad one: the step that suits the broad one does not fit
    the other.
    """

    def target(u: Tensor) -> Tensor:
        return torch.logaddexp(-0.5 * u.square().sum(1), 30 - 0.5e8 * (u - 3).square().sum(1))

    state = torch.full((64, 2), 3.0)
    move = hmc_move(
        target, evaluate(target, state + 1e-4), step_size=0.5, leapfrogs=3, generator=generator()
    )
    assert int(move.diverged.sum()) == 64


def test_evaluations_are_counted() -> None:
    rows = 0

    def target(u: Tensor) -> Tensor:
        nonlocal rows
        rows += len(u)
        return gaussian(u)

    found = latent_chains(target, identity(3), chains=7, steps=20, warmup=10)
    assert found.evaluations == rows
    found = latent_chains(target, identity(3), chains=7, steps=20, warmup=10, local=0)
    assert found.evaluations == 7 * 31


def test_chains_are_reproducible() -> None:
    state = torch.get_rng_state()
    flow = crooked(3)
    runs = [
        latent_chains(gaussian, flow, chains=8, steps=20, warmup=20, seed=seed)
        for seed in (0, 0, 1)
    ]
    given = [
        latent_chains(gaussian, flow, chains=8, steps=20, warmup=20, generator=generator(5))
        for _ in range(2)
    ]
    assert torch.equal(runs[0].samples, runs[1].samples)
    assert not torch.equal(runs[0].samples, runs[2].samples)
    assert torch.equal(given[0].samples, given[1].samples)
    assert torch.equal(state, torch.get_rng_state())


def test_the_flow_is_left_as_it_was() -> None:
    flow = crooked(3).train()
    before = {name: value.clone() for name, value in flow.state_dict().items()}
    latent_chains(gaussian, flow, chains=4, steps=5, warmup=5)
    assert flow.training
    assert all(torch.equal(value, before[name]) for name, value in flow.state_dict().items())
    assert all(parameter.grad is None for parameter in flow.parameters())


def test_other_events() -> None:
    """A latent event of another shape than the data's, in float64."""
    flow = diffeo.Flow(
        diffeo.Chain([diffeo.layers.Flatten((2, 2))]), diffeo.bases.Normal(4)
    ).double()
    found = latent_chains(
        lambda u: -0.5 * u.square().flatten(1).sum(1), flow, chains=8, steps=10, warmup=10
    )
    assert found.samples.shape == (8, 10, 2, 2)
    assert found.samples.dtype == torch.float64
    assert found.rhat.shape == (4,)


def test_deadline() -> None:
    """In the past: one state. Soon: the warm-up is cut in proportion, and draws are left over."""
    started = time.monotonic()
    found = latent_chains(
        gaussian, identity(3), chains=4, steps=10, warmup=10_000, deadline=started
    )
    assert found.samples.shape == (4, 1, 3)
    assert not found.complete
    assert found.rhat.isnan().all()
    assert not found.verdict()[0]

    def slow(u: Tensor) -> Tensor:
        time.sleep(0.001)
        return gaussian(u)

    started = time.monotonic()
    found = latent_chains(
        slow, identity(3), chains=4, steps=100_000, warmup=100_000, deadline=started + 0.6
    )
    assert 0.4 < time.monotonic() - started < 3
    assert not found.complete
    assert found.samples.shape[1] > 5


def test_starting_points_are_looked_for() -> None:
    """Where one draw in 40 has positive density the chains start from those; where none has, an
    error says so.
    """
    found = latent_chains(
        lambda u: torch.where(u[:, 0] > 2, 0.0, -math.inf), identity(1), chains=4, steps=3, warmup=0
    )
    assert (found.samples > 2).all()
    with pytest.raises(InferenceError, match=r"not a number at all of 204 draws of the flow"):
        latent_chains(lambda u: torch.full((len(u),), -math.inf), identity(1), chains=4)


@pytest.mark.parametrize(
    "settings", [{"chains": 0}, {"steps": 0}, {"warmup": -1}, {"local": -1.0}, {"local": math.nan}]
)
def test_bad_settings(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        latent_chains(gaussian, identity(3), **settings)  # type: ignore[arg-type]


def test_flows_that_will_not_do() -> None:
    with pytest.raises(ContextError, match="without context"):
        latent_chains(gaussian, diffeo.models.nsf((3,), context_shape=(2,)))
    dequantising = diffeo.Flow(diffeo.Chain([diffeo.layers.Dequantize()]), diffeo.bases.Normal(3))
    with pytest.raises(ExactnessError, match="dequantises"):
        latent_chains(gaussian, dequantising)
    with pytest.raises(ConfigError, match="leapfrogs"):
        hmc_step(gaussian, torch.zeros(2, 3), step_size=0.1, leapfrogs=0, generator=generator())
