"""Base distributions: the density is one, draws follow it, nothing is trainable that should not
be.
"""

from __future__ import annotations

import copy
import math

import pytest
import torch

import test_contract as contract
from cases import BASES
from diffeo.bases import GaussianMixture, Logistic, Normal, Product, StudentT, Uniform
from diffeo.core.errors import ConfigError, ContextError, ShapeError

every = pytest.mark.parametrize("name", list(BASES))


@every
def test_density_integrates(name: str) -> None:
    contract.check_density_integrates(BASES[name])


@every
def test_draws_follow_density(name: str) -> None:
    contract.check_draws_follow_density(BASES[name])


@pytest.mark.parametrize("name", [n for n, case in BASES.items() if case.reference is not None])
def test_agrees_with_torch(name: str) -> None:
    """Log-densities are those of torch.distributions."""
    case = BASES[name]
    assert case.reference is not None
    reference = case.reference()
    x = reference.sample(torch.Size((50,)))
    torch.testing.assert_close(
        case.ready().log_prob(x), reference.log_prob(x), rtol=1e-12, atol=1e-12
    )


def test_mixture_agrees_with_torch() -> None:
    """With its own weights, means and scales handed to MixtureSameFamily."""
    base = BASES["mixture"].ready()
    parts = torch.distributions.Independent(
        torch.distributions.Normal(base.loc, base._log_sigma().exp()), 1
    )
    reference = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=base.logits), parts
    )
    x = torch.randn(50, 2, dtype=torch.float64)
    torch.testing.assert_close(base.log_prob(x), reference.log_prob(x))


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_placed_mixture_agrees_with_torch(temperature: float) -> None:
    base = BASES["placed"].ready()
    normals = torch.distributions.MultivariateNormal(
        base.means, scale_tril=temperature * base.lowers
    )
    reference = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=base.log_weights), normals
    )
    x = torch.randn(50, 2, dtype=torch.float64)
    torch.testing.assert_close(
        base.density(x, temperature), reference.log_prob(x), rtol=1e-6, atol=1e-6
    )
    base.weigh(torch.tensor([1.0, 1.0]))
    assert base.log_weights.exp().tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("name", [n for n, case in BASES.items() if case.spread is not None])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_temperature_scales_the_spread(name: str, temperature: float) -> None:
    case = BASES[name]
    assert case.spread is not None
    drawn = case.ready().sample(
        (40_000,), temperature=temperature, generator=torch.Generator().manual_seed(1)
    )
    assert drawn[:, 0].std() == pytest.approx(case.spread(temperature), rel=0.05)


@every
def test_shapes_and_dtypes(name: str) -> None:
    for dtype in (torch.float32, torch.float64):
        base = BASES[name].ready(dtype)
        for lead in ((), (3,), (2, 3), (0,)):
            x, log_prob = base.sample_and_log_prob(lead)
            assert (x.shape, x.dtype) == ((*lead, 2), dtype)
            assert (log_prob.shape, log_prob.dtype) == (lead, dtype)
            assert base.sample(lead).shape == (*lead, 2)
            assert base.log_prob(x).shape == lead
        assert base.sample(3).shape == (3, 2)


@every
def test_multidimensional_events(name: str) -> None:
    """Events of shape (2, 3) where the base takes them."""
    makers = {
        "normal": Normal,
        "uniform": Uniform,
        "student_t": StudentT,
        "logistic": Logistic,
        "mixture": lambda shape: GaussianMixture(shape, components=3),
    }
    if name in ("product", "placed"):
        base, shape = BASES[name].build(), (2,)
    else:
        base, shape = makers[name]((2, 3)), (2, 3)
    x = base.sample((4, 5))
    assert x.shape == (4, 5, *shape)
    assert base.log_prob(x).shape == (4, 5)


@every
def test_log_prob_of_own_draws(name: str) -> None:
    """At temperature 1 the pair agrees with `log_prob`; draws without gradients, pairs with."""
    base = BASES[name].ready()
    x, log_prob = base.sample_and_log_prob((20,))
    torch.testing.assert_close(log_prob, base.log_prob(x))
    assert not base.sample((2,)).requires_grad
    assert x.requires_grad == any(True for _ in base.parameters())


@every
def test_generator(name: str) -> None:
    """Same seed, same draws; another seed, others; the global generator is left alone; without one
    it is used.
    """
    base = BASES[name].ready()
    before = torch.get_rng_state()
    first, again, other = (
        base.sample((8,), generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    base.sample((8,))
    assert not torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", [n for n, case in BASES.items() if case.outside is not None])
def test_outside_is_minus_infinity(name: str) -> None:
    base = BASES[name].ready()
    outside = torch.tensor([BASES[name].outside, (0.0, 0.0)], dtype=torch.float64)
    found = base.log_prob(outside)
    assert found[0] == -math.inf
    assert found[1].isfinite()


@every
def test_nan_stays_alone(name: str) -> None:
    base = BASES[name].ready()
    x = base.sample((4,))
    clean = base.log_prob(x)
    for column in (0, 1):
        bad = x.clone()
        bad[2, column] = math.nan
        found = base.log_prob(bad)
        assert found[2].isnan()
        assert torch.equal(found[[0, 1, 3]], clean[[0, 1, 3]])


@every
def test_half_precision_input(name: str) -> None:
    """Densities are computed in float32 at least."""
    base = BASES[name].ready(torch.float32)
    assert base.log_prob(torch.zeros(3, 2, dtype=torch.bfloat16)).dtype == torch.float32


@every
def test_gradients(name: str) -> None:
    """By x and by parameters those of finite differences."""
    base = BASES[name].ready()
    x = base.sample((5,), generator=torch.Generator().manual_seed(1))
    contract._compare_with_differences(
        lambda at, context: (base.log_prob(at),),
        [x.requires_grad_()],
        list(base.parameters()),
        False,
        0,
    )


@every
def test_far(name: str) -> None:
    """A million standard deviations out: a number or −inf, never NaN, and finite gradients."""
    base = BASES[name].ready(torch.float32)
    x = torch.tensor([[1e6, 0.0], [0.0, -1e6], [1e2, 1e2]], requires_grad=True)
    log_prob = base.log_prob(x)
    assert not log_prob.isnan().any()
    assert contract.gradients(log_prob[log_prob.isfinite()].sum(), [x])[0].isfinite().all()


@every
def test_moves_and_state(name: str) -> None:
    """State dictionary, deep copy, dtype and meta moves, printing."""
    base, other = BASES[name].ready(torch.float32), BASES[name].build()
    other.load_state_dict(base.state_dict())
    x = base.sample((5,))
    assert torch.equal(other.log_prob(x), base.log_prob(x))
    assert torch.equal(copy.deepcopy(base).double().float().log_prob(x), base.log_prob(x))
    assert "tensor(" not in repr(base)
    assert all(t.device.type == "meta" for t in contract.tensors(base.to("meta")))


@every
def test_refusals(name: str) -> None:
    base = BASES[name].build()
    with pytest.raises(ContextError):
        base.log_prob(torch.zeros(1, 2), torch.zeros(1, 1))
    with pytest.raises(ContextError):
        base.sample((1,), torch.zeros(1, 1))
    with pytest.raises(ShapeError):
        base.log_prob(torch.zeros(1, 3))


@pytest.mark.parametrize(
    "build",
    [
        lambda: Uniform(1, 1.0, 1.0),
        lambda: Uniform(1, 0.0, math.inf),
        lambda: StudentT(1, df=0.0),
        lambda: StudentT(1, df=math.nan),
        lambda: GaussianMixture(1, components=0),
    ],
)
def test_bad_settings(build: object) -> None:
    with pytest.raises(ConfigError):
        build()  # type: ignore[operator]


def test_bad_product() -> None:
    for parts in (
        [([0, 0], Normal(2))],
        [([0], Normal(1)), ([2], Normal(1))],
        [([0, 1], Normal(1))],
    ):
        with pytest.raises(ShapeError):
            Product(parts)


def test_student_t_far_tail() -> None:
    """No overflow of z²: the tail is −(ν + 1) log z to rounding, also at 1e30 in float32."""
    base = StudentT((1,), df=3.0)
    far, further = base.log_prob(torch.tensor([[1e12], [1e15]]))
    assert float(far - further) == pytest.approx(4 * math.log(1e3), rel=1e-5)
