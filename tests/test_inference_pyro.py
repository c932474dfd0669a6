"""Models of Pyro: the density is the one that is written out by hand, and what cannot be inferred
is named.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import diffeo
from diffeo.core.errors import ConfigError, InferenceError, ShapeError
from diffeo.inference import Space, Target, from_pyro, ordered
from test_cli import answer, run

pyro = pytest.importorskip("pyro")
dist: Any = pytest.importorskip("pyro.distributions")
poutine: Any = pytest.importorskip("pyro.poutine")


@pytest.fixture(autouse=True)
def _clean() -> None:
    pyro.clear_param_store()


def numbers(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def normal(x: Tensor, mean: Any, sd: Any) -> Tensor:
    """log N(x; mean, sd²), every entry."""
    sd = torch.as_tensor(sd, dtype=torch.float64)
    return -0.5 * ((x - mean) / sd) ** 2 - sd.log() - 0.5 * math.log(2 * math.pi)


def half_normal(x: Tensor, sd: float) -> Tensor:
    return normal(x, 0.0, sd) + math.log(2)


# --- models, and their densities written out ------------------------------------------------------

EFFECTS = torch.tensor([28.0, 8, -3, 7, -1, 1, 18, 12], dtype=torch.float64)
ERRORS = torch.tensor([15.0, 10, 16, 11, 9, 11, 10, 18], dtype=torch.float64)


def eight_schools(y: Tensor, sd: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", 8):
        eta = pyro.sample("eta", dist.Normal(0.0, 1.0))
        theta = pyro.deterministic("theta", mu + tau * eta)
        pyro.sample("y", dist.Normal(theta, sd), obs=y)


def eight_schools_by_hand(p: dict[str, Tensor]) -> Tensor:
    mu, tau, eta = p["mu"], p["tau"], p["eta"]
    prior = (
        normal(mu, 0.0, 5.0)
        + math.log(2 / (5 * math.pi))
        - (1 + (tau / 5) ** 2).log()
        + normal(eta, 0.0, 1.0).sum(1)
    )
    return prior + normal(EFFECTS, mu[:, None] + tau[:, None] * eta, ERRORS).sum(1)


X, Y = numbers(4, 3, seed=2), numbers(4, 3, seed=3)  # 4 rows in each of 3 groups


def regression(x: Tensor, y: Tensor) -> None:
    level = pyro.sample("level", dist.Normal(0.0, 2.0))
    spread = pyro.sample("spread", dist.HalfNormal(1.5))
    noise = pyro.sample("noise", dist.Exponential(2.0))
    with pyro.plate("groups", 3, dim=-1):
        slope = pyro.sample("slope", dist.Normal(level, spread))
        with pyro.plate("rows", 4, dim=-2):
            shift = pyro.sample("shift", dist.Normal(0.0, 0.3))
            pyro.sample("y", dist.Normal(slope * x + shift, noise), obs=y)


def regression_by_hand(p: dict[str, Tensor]) -> Tensor:
    noise, shift, slope = p["noise"], p["shift"], p["slope"]
    found = normal(p["level"], 0.0, 2.0) + half_normal(p["spread"], 1.5) + math.log(2) - 2 * noise
    found = (
        found
        + normal(slope, p["level"][:, None], p["spread"][:, None]).sum(1)
        + normal(shift, 0.0, 0.3).sum((1, 2))
    )
    return found + normal(Y, slope[:, None] * X + shift, noise[:, None, None]).sum((1, 2))


COUNTS = torch.tensor([[3.0, 0, 2], [1, 4, 4]], dtype=torch.float64)
ALPHA = torch.tensor([0.5, 1.0, 2.5], dtype=torch.float64)


def shares(counts: Tensor) -> None:
    with pyro.plate("urns", 2):
        p = pyro.sample("p", dist.Dirichlet(ALPHA))
        pyro.sample("n", dist.Multinomial(probs=p, validate_args=False), obs=counts)


def shares_by_hand(p: dict[str, Tensor]) -> Tensor:
    constant = ALPHA.sum().lgamma() - ALPHA.lgamma().sum()
    ways = (COUNTS.sum(1) + 1).lgamma() - (COUNTS + 1).lgamma().sum(1)
    return ((ALPHA - 1 + COUNTS) * p["p"].log()).sum((1, 2)) + 2 * constant + ways.sum()


VECTORS = numbers(5, 3, seed=4)


def correlated(y: Tensor) -> None:
    scale = pyro.sample("scale", dist.HalfNormal(torch.ones(3)).to_event(1))
    lower = pyro.sample("L", dist.LKJCholesky(3, 1.0))
    with pyro.plate("rows", len(y)):
        pyro.sample(
            "y", dist.MultivariateNormal(torch.zeros(3), scale_tril=scale[:, None] * lower), obs=y
        )


def correlated_by_hand(p: dict[str, Tensor]) -> Tensor:
    """Correlation matrices of size 3 fill a volume of π²/2, and |∂R/∂L| = L₂₂ (η = 1: all are
    equally likely).
    """
    scale, lower = p["scale"], p["L"]
    prior = half_normal(scale, 1.0).sum(1) + math.log(2 / math.pi**2) + lower[:, 1, 1].log()
    cov = scale[:, :, None] * (lower @ lower.mT) * scale[:, None]
    quadratic = torch.einsum("ni,bij,nj->b", VECTORS, torch.linalg.inv(cov), VECTORS)
    return prior - 0.5 * (
        quadratic + len(VECTORS) * (torch.linalg.slogdet(cov)[1] + 3 * math.log(2 * math.pi))
    )


def bounded(heads: Tensor) -> None:
    sd = pyro.sample("sd", dist.HalfNormal(2.0))
    low = pyro.sample("low", dist.Uniform(-3.0, 4.0))
    rate = pyro.sample("rate", dist.Beta(2.0, 3.0))
    edges = pyro.sample(
        "edges", dist.Uniform(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 5.0])).to_event(1)
    )
    pyro.factor("pull", -low * sd + edges.sum())
    for i in pyro.plate("tosses", len(heads)):
        pyro.sample(f"toss_{i}", dist.Bernoulli(rate), obs=heads[i])


def bounded_by_hand(p: dict[str, Tensor]) -> Tensor:
    sd, low, rate = p["sd"], p["low"], p["rate"]
    prior = (
        half_normal(sd, 2.0)
        - math.log(7)
        + math.log(12)
        + rate.log()
        + 2 * (1 - rate).log()
        - math.log(4)
    )
    return prior - low * sd + p["edges"].sum(1) + 2 * rate.log() + (1 - rate).log()


MODELS: dict[
    str,
    tuple[
        Callable[..., None],
        tuple[Tensor, ...],
        Callable[[dict[str, Tensor]], Tensor],
        dict[str, Any],
    ],
] = {
    "eight schools": (
        eight_schools,
        (EFFECTS, ERRORS),
        eight_schools_by_hand,
        {"mu": ((), "real"), "tau": ((), "positive"), "eta": ((8,), "real")},
    ),
    "nested plates": (
        regression,
        (X, Y),
        regression_by_hand,
        {
            "level": ((), "real"),
            "spread": ((), "positive"),
            "noise": ((), "positive"),
            "slope": ((3,), "real"),
            "shift": ((4, 3), "real"),
        },
    ),
    "dirichlet": (shares, (COUNTS,), shares_by_hand, {"p": ((2, 3), "simplex")}),
    "lkj": (
        correlated,
        (VECTORS,),
        correlated_by_hand,
        {"scale": ((3,), "positive"), "L": ((3, 3), "corr_cholesky")},
    ),
    "bounds": (
        bounded,
        (torch.tensor([1.0, 0.0, 1.0]),),
        bounded_by_hand,
        {
            "sd": ((), "positive"),
            "low": ((), "interval:-3.0:4.0"),
            "rate": ((), "interval:0.0:1.0"),
            "edges": ((2,), ["interval:0.0:1.0", "interval:1.0:5.0"]),
        },
    ),
}


@pytest.mark.parametrize("name", list(MODELS))
def test_density_and_gradient_are_those_written_by_hand(name: str) -> None:
    """Through `vmap`, in the unconstrained space where `infer` works."""
    torch.set_default_dtype(torch.float64)
    model, data, by_hand, parameters = MODELS[name]
    log_density, found = from_pyro(model, *data)
    assert {site: (p.shape, p.support) for site, p in found.items()} == parameters
    target = Target(log_density, Space.of(found))
    u = numbers(7, target.space.size).requires_grad_()
    log_p = target(u)
    assert target.mode == "vmap"
    value, log_det = target.space.constrain(u)
    assert isinstance(value, dict)
    expected = by_hand(value) + log_det
    torch.testing.assert_close(log_p, expected, rtol=1e-8, atol=1e-8)
    grad, expected_grad = (
        torch.autograd.grad(total.sum(), u, retain_graph=True)[0] for total in (log_p, expected)
    )
    torch.testing.assert_close(grad, expected_grad, rtol=1e-7, atol=1e-8)
    target.check(torch.Generator().manual_seed(0))


# --- supports -------------------------------------------------------------------------------------

two = torch.ones(2)
turn = f"circular:{-math.pi}:{math.pi}"
SITES: dict[str, tuple[Callable[[], Any], tuple[int, ...], Any]] = {
    "normal": (lambda: dist.Normal(0.0, 1.0).expand([2, 3]).to_event(1), (2, 3), "real"),
    "gamma": (lambda: dist.Gamma(2 * two, 1.0), (2,), "positive"),
    "pareto": (lambda: dist.Pareto(1.5, 2.0), (), "greater_than:1.5"),
    "multivariate": (lambda: dist.MultivariateNormal(torch.zeros(3), torch.eye(3)), (3,), "real"),
    "wishart": (lambda: dist.Wishart(torch.tensor(4.0), torch.eye(2)), (2, 2), "positive_definite"),
    "softplus": (
        lambda: dist.TransformedDistribution(
            dist.Normal(0.0, 1.0), dist.transforms.SoftplusTransform()
        ),
        (),
        "positive",
    ),
    "ordered": (
        lambda: dist.TransformedDistribution(
            dist.Normal(torch.zeros(3), 1.0).to_event(1), dist.transforms.OrderedTransform()
        ),
        (3,),
        "ordered",
    ),
    "mixture": (
        lambda: dist.MixtureSameFamily(dist.Categorical(two), dist.Normal(two, 1.0)),
        (),
        "real",
    ),
    "mixture of betas": (
        lambda: dist.MixtureSameFamily(dist.Categorical(two), dist.Beta(two, 3.0)),
        (),
        "interval:0.0:1.0",
    ),
    "angle": (lambda: dist.VonMises(0.0, 2.0), (), turn),
    "angles": (lambda: dist.VonMises(two, 2.0).to_event(1), (2,), turn),
    "two angles": (lambda: dist.SineBivariateVonMises(0.0, 0.0, 1.0, 1.0, 0.1), (2,), turn),
}


@pytest.mark.parametrize("name", list(SITES))
def test_supports_of_distributions(name: str) -> None:
    build, shape, support = SITES[name]
    log_density, parameters = from_pyro(lambda: pyro.sample("x", build()))
    assert (parameters["x"].shape, parameters["x"].support) == (shape, support)
    target = Target(log_density, Space.of(parameters))
    u = 0.5 * torch.randn(4, target.space.size)
    value, log_det = target.space.constrain(u)
    assert isinstance(value, dict)
    expected = build().log_prob(value["x"]).reshape(4, -1).sum(1)
    torch.testing.assert_close(target(u), expected + log_det, rtol=1e-4, atol=1e-4)
    assert target.mode == "vmap"


def test_improper_priors_which_pyro_cannot_sample() -> None:
    def model(support: Any) -> None:
        cuts = pyro.sample("cuts", dist.ImproperUniform(support, (), (2,)))
        pyro.sample("y", dist.Normal(cuts, 1.0).to_event(1), obs=torch.tensor([0.0, 1.0]))

    for support in (ordered, dist.constraints.ordered_vector):
        log_density, parameters = from_pyro(model, support)
        assert parameters["cuts"].support == "ordered"
        at = log_density({"cuts": torch.tensor([0.5, 1.0])})
        assert at.item() == pytest.approx(-0.125 - math.log(2 * math.pi))


def test_a_mode_in_each_half_of_an_angle_counts_once() -> None:
    """∫ over the support of a von Mises density is 1: over the real line, which Pyro names, it
    would be infinite.
    """
    log_density, parameters = from_pyro(lambda: pyro.sample("a", dist.VonMises(3.0, 2.0)))
    target = Target(log_density, Space.of(parameters))
    u = torch.linspace(-12, 12, 20_001, dtype=torch.float64)[:, None]
    assert torch.trapezoid(target(u).exp(), u[:, 0]).item() == pytest.approx(1.0, abs=1e-4)


# --- handlers, and other ways of writing models ---------------------------------------------------


def coin(y: Tensor) -> None:
    p = pyro.sample("p", dist.Beta(2.0, 2.0))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Bernoulli(p), obs=y)


def test_handlers_keep_their_meaning() -> None:
    y, p = torch.tensor([1.0, 1.0, 0.0]), torch.tensor(0.3)
    prior, data = math.log(6 * 0.3 * 0.7), math.log(0.3 * 0.3 * 0.7)
    plain = from_pyro(coin, y).log_density({"p": p})
    assert plain.item() == pytest.approx(prior + data)
    scaled = from_pyro(poutine.scale(coin, 2.0), y).log_density({"p": p})
    assert scaled.item() == pytest.approx(2 * (prior + data))

    def masked() -> None:
        p = pyro.sample("p", dist.Beta(2.0, 2.0))
        with pyro.plate("rows", 3), poutine.mask(mask=torch.tensor([True, False, True])):
            pyro.sample("y", dist.Bernoulli(p), obs=y)

    assert from_pyro(masked).log_density({"p": p}).item() == pytest.approx(
        prior + math.log(0.3 * 0.7)
    )


def test_counts_in_a_scaled_and_masked_plate() -> None:
    counts = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 3.0], [1.0, 1.0, 1.0]])

    def model() -> None:
        p = pyro.sample("p", dist.Dirichlet(torch.ones(3)))
        with (
            pyro.plate("urns", 3),
            poutine.scale(scale=3.0),
            poutine.mask(mask=torch.tensor([True, True, False])),
        ):
            pyro.sample("n", dist.Multinomial(3, p), obs=counts)

    p = torch.tensor([0.2, 0.3, 0.5])
    expected = math.log(2) + 3 * torch.distributions.Multinomial(3, p).log_prob(counts)[:2].sum()
    torch.testing.assert_close(from_pyro(model).log_density({"p": p}), expected)


def test_conditioned_sites_are_data() -> None:
    def model() -> None:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(z, 2.0))

    log_density, parameters = from_pyro(poutine.condition(model, data={"y": torch.tensor(1.0)}))
    assert list(parameters) == ["z"]
    assert log_density({"z": torch.tensor(3.0)}).item() == pytest.approx(
        -4.5 - 0.5 - math.log(2) - math.log(2 * math.pi)
    )


def test_reparametrised_sites_are_replaced() -> None:
    from pyro.infer.reparam import LocScaleReparam

    @poutine.reparam(config={"theta": LocScaleReparam(0.0)})
    def model() -> None:
        tau = pyro.sample("tau", dist.HalfNormal(1.0))
        with pyro.plate("groups", 2):
            theta = pyro.sample("theta", dist.Normal(3.0, tau))
            pyro.sample("y", dist.Normal(theta, 1.0), obs=torch.zeros(2))

    log_density, parameters = from_pyro(model)
    assert list(parameters) == ["tau", "theta_decentered"]
    tau, z = torch.tensor(0.5, dtype=torch.float64), torch.tensor([1.0, -1.0], dtype=torch.float64)
    expected = half_normal(tau, 1.0) + (normal(z, 0.0, 1.0) + normal(3 + tau * z, 0.0, 1.0)).sum()
    torch.testing.assert_close(log_density({"tau": tau, "theta_decentered": z}), expected)


def test_a_network_with_priors_on_its_weights() -> None:
    from pyro.nn import PyroModule, PyroSample

    class Network(PyroModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = PyroModule[torch.nn.Linear](3, 1, bias=False)
            self.layer.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 3]).to_event(2))

        def forward(self, x: Tensor) -> None:
            mean = self.layer(x)[:, 0]
            with pyro.plate("rows", len(x)):
                pyro.sample("y", dist.Normal(mean, 1.0), obs=torch.zeros(len(x)))

    x = numbers(4, 3)
    log_density, parameters = from_pyro(Network(), x.float())
    assert {name: p.shape for name, p in parameters.items()} == {"layer.weight": (1, 3)}
    weight = numbers(1, 3, seed=5).float()
    expected = (
        normal(weight.double(), 0.0, 1.0).sum() + normal(x @ weight.double()[0], 0.0, 1.0).sum()
    )
    assert log_density({"layer.weight": weight}).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_model_that_branches_on_values_goes_point_by_point() -> None:
    def model() -> None:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(z if z > 0 else -2 * z, 1.0), obs=torch.tensor(1.0))

    log_density, parameters = from_pyro(model)
    target = Target(log_density, Space.of(parameters))
    u = torch.tensor([[-1.0], [0.5]], dtype=torch.float64)
    torch.testing.assert_close(
        target(u),
        normal(u[:, 0], 0.0, 1.0) + normal(torch.tensor(1.0), torch.tensor([2.0, 0.5]), 1.0),
    )
    assert target.mode == "rows"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_of_any_precision_meet_data_of_one(dtype: torch.dtype) -> None:
    """X @ w takes one dtype, and `infer` has points of both."""

    def model(x: Tensor) -> None:
        w = pyro.sample("w", dist.Normal(torch.zeros(3, dtype=dtype), 1.0).to_event(1))
        pyro.sample("y", dist.Normal(x @ w, 1.0).to_event(1), obs=torch.zeros(len(x), dtype=dtype))

    x, w = numbers(5, 3), numbers(3, seed=7)
    density, _ = from_pyro(model, x.to(dtype))
    expected = normal(w, 0.0, 1.0).sum() + normal(x @ w, 0.0, 1.0).sum()
    for given in (torch.float32, torch.float64):
        assert density({"w": w.to(given)}).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_model_for_both_precisions_keeps_that_of_the_points() -> None:
    density, _ = from_pyro(coin, torch.ones(2))
    assert [
        density({"p": torch.tensor(0.3, dtype=d)}).dtype for d in (torch.float32, torch.float64)
    ] == [
        torch.float32,
        torch.float64,
    ]


def test_nothing_global_changes() -> None:
    state, checked = torch.get_rng_state(), torch.distributions.Distribution._validate_args
    density, _ = from_pyro(coin, torch.ones(2))
    density({"p": torch.tensor(0.3)})
    after = torch.rand(3)
    torch.set_rng_state(state)
    assert torch.equal(torch.rand(3), after)
    assert torch.distributions.Distribution._validate_args == checked
    assert not list(pyro.get_param_store())


# --- what cannot be -------------------------------------------------------------------------------


def sampled(build: Callable[[], Any]) -> Callable[[], None]:
    return lambda: pyro.sample("site", build())


def upstream(build: Callable[[Tensor], Any]) -> Callable[[], None]:
    return lambda: pyro.sample("site", build(pyro.sample("x", dist.HalfNormal(1.0))))


def rows(**subset: Any) -> None:
    z = pyro.sample("z", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", 10, **subset) as index:
        pyro.sample("y", dist.Normal(z, 1.0), obs=torch.zeros(10)[index])


def partly_observed() -> None:
    with pyro.plate("rows", 2):
        pyro.sample(
            "y", dist.Normal(0.0, 1.0), obs=torch.zeros(2), obs_mask=torch.tensor([True, False])
        )


def unplanned() -> None:
    z = pyro.sample("z", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(z + torch.randn(()), 1.0), obs=torch.tensor(0.0))


def branching() -> None:
    if pyro.sample("z", dist.Normal(0.0, 1.0)) > 0:
        pyro.sample("extra", dist.Normal(0.0, 1.0))


def observed(build: Callable[[], Any], value: float) -> Callable[[], None]:
    def model() -> None:
        pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", build(), obs=torch.tensor(value))

    return model


def twice() -> None:
    for _ in range(2):
        pyro.sample("z", dist.Normal(0.0, 1.0))


BAD: dict[str, tuple[Callable[..., Any], type[Exception], str]] = {
    "bernoulli": (
        sampled(lambda: dist.Bernoulli(0.3)),
        ConfigError,
        "site 'site' is discrete .Bernoulli.; it must be marginal",
    ),
    "categorical": (
        sampled(lambda: dist.Categorical(torch.ones(3))),
        ConfigError,
        "'site' is discrete .Categorical.",
    ),
    "poisson in a plate": (
        sampled(lambda: dist.Poisson(torch.ones(3)).to_event(1)),
        ConfigError,
        "'site' is discrete .Poisson.",
    ),
    "one hot": (
        sampled(lambda: dist.OneHotCategorical(torch.ones(3))),
        ConfigError,
        "is discrete .OneHotCategorical.",
    ),
    "delta": (
        sampled(lambda: dist.Delta(torch.tensor(1.0))),
        ConfigError,
        "'site' is a Delta.*pyro.deterministic",
    ),
    "sphere": (
        sampled(lambda: dist.ProjectedNormal(torch.ones(3))),
        ConfigError,
        "site: no way to the support Sphere",
    ),
    "correlations": (
        sampled(lambda: dist.LKJ(3, 1.0)),
        ConfigError,
        "site: no way to the support CorrMatrix",
    ),
    "no distribution": (
        sampled(lambda: lambda: torch.tensor(1.0)),
        ConfigError,
        "'site' is drawn from a function",
    ),
    "mixed bounds": (
        sampled(
            lambda: dist.MixtureSameFamily(
                dist.Categorical(two), dist.Uniform(torch.tensor([0.0, 1.0]), 2.0)
            )
        ),
        ConfigError,
        "'site' mixes distributions with bounds of their own",
    ),
    "upper bound": (
        upstream(lambda x: dist.Uniform(0.0, x)),
        ConfigError,
        "support of site 'site' depends on other sites",
    ),
    "lower bound": (
        upstream(lambda x: dist.Pareto(x.detach(), 2.0)),
        ConfigError,
        "support of site 'site' depends",
    ),
    "shape": (
        upstream(lambda x: dist.Normal(torch.zeros(int(10 * x) + 1), 1.0)),
        ConfigError,
        "shape or support of site 'site'",
    ),
    "subsample": (lambda: rows(subsample_size=5), ConfigError, "plate 'rows' subsamples 5 of 10"),
    "given subsample": (
        lambda: rows(subsample=torch.arange(4)),
        ConfigError,
        "plate 'rows' subsamples 4 of 10",
    ),
    "observed in part": (partly_observed, ConfigError, "'y_unobserved' is masked in part"),
    "masked in part": (
        sampled(lambda: dist.Normal(torch.zeros(2), 1.0).mask(torch.tensor([True, False]))),
        ConfigError,
        "'site' is masked in part",
    ),
    "param": (
        lambda: pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(1.0)), 1.0)),
        ConfigError,
        "'loc' is a pyro.param",
    ),
    "no latent site": (
        lambda: pyro.sample("y", dist.Normal(0.0, 1.0), obs=torch.tensor(1.0)),
        ConfigError,
        "no latent site",
    ),
    "random": (unplanned, InferenceError, "draws random numbers other than by pyro.sample"),
    "branch": (branching, InferenceError, "'extra' is there at some points only"),
    "impossible data": (
        observed(lambda: dist.Poisson(1.0), -1.0),
        InferenceError,
        "the model raised ValueError.*site 'y'.*-1.0",
    ),
    "missing data": (
        observed(lambda: dist.Normal(0.0, 1.0), math.nan),
        InferenceError,
        "site 'y'.*invalid values: nan",
    ),
    "name twice": (twice, InferenceError, "Multiple sample sites named 'z'"),
    "wrong": (lambda: 1 / 0, InferenceError, "the model raised ZeroDivisionError"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_what_cannot_be_inferred_is_named_in_one_line(name: str) -> None:
    model, error, words = BAD[name]
    with pytest.raises(error, match=words) as caught:
        from_pyro(model)
    assert "\n" not in str(caught.value)
    assert "Trace Shapes" not in str(caught.value)


def test_a_param_can_be_held_where_it_is() -> None:
    def model() -> None:
        pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(1.0)), 1.0))

    density, _ = from_pyro(poutine.block(model, hide_types=["param"]))
    assert density({"z": torch.tensor(1.0)}).item() == pytest.approx(-0.5 * math.log(2 * math.pi))


def test_a_site_that_comes_up_later_is_not_drawn_in_secret() -> None:
    def model() -> None:
        if pyro.sample("z", dist.Normal(0.0, 1.0)) > 5:
            pyro.sample("extra", dist.Normal(0.0, 1.0))

    density, _ = from_pyro(model)
    with pytest.raises(InferenceError, match="'extra' is there at some points only"):
        density({"z": torch.tensor(6.0)})


def test_a_batch_is_not_taken_for_a_point() -> None:
    density, _ = from_pyro(coin, torch.ones(2))
    with pytest.raises(ShapeError, match=r"p has shape \(3,\), not \(\): one point at a time"):
        density({"p": torch.full((3,), 0.5)})


def test_without_pyro_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyro", None)
    with pytest.raises(ConfigError, match=r"pip install 'diffeo\[pyro\]'"):
        from_pyro(coin, torch.ones(2))


# --- all the way ----------------------------------------------------------------------------------


def linear(x: Tensor, y: Tensor) -> None:
    w = pyro.sample("w", dist.Normal(torch.zeros(2), 2.0).to_event(1))
    with pyro.plate("rows", len(x)):
        pyro.sample("y", dist.Normal(x @ w, 0.5), obs=y)


def test_infer_finds_an_exact_posterior_and_evidence() -> None:
    """Bayesian linear regression, conjugate."""
    x = numbers(12, 2)
    y = x @ torch.tensor([1.0, -0.5], dtype=torch.float64) + 0.5 * numbers(12, seed=6)
    covariance = torch.linalg.inv(torch.eye(2) / 4 + x.T @ x / 0.25)
    mean = covariance @ x.T @ y / 0.25
    marginal = torch.distributions.MultivariateNormal(
        torch.zeros(12).double(), 4 * x @ x.T + 0.25 * torch.eye(12)
    )
    posterior = diffeo.infer(
        *from_pyro(linear, x.float(), y.float()), steps=100, samples=4000, effort="flow"
    )
    assert posterior.trusted
    assert posterior.log_z == pytest.approx(marginal.log_prob(y).item(), abs=0.02)
    table = posterior.summary()
    assert [row["name"] for row in table] == ["w[0]", "w[1]"]
    for i, row in enumerate(table):
        sd = covariance[i, i].sqrt().item()
        assert row["mean"] == pytest.approx(mean[i].item(), abs=0.08 * sd)
        assert row["sd"] == pytest.approx(sd, rel=0.06)
    assert not posterior.warnings


FILE = """
import torch, pyro, pyro.distributions as dist
from diffeo.inference import from_pyro
def model(y):
    rate = pyro.sample("rate", dist.Gamma(3.0, 2.0))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Poisson(rate), obs=y)
target = from_pyro(model, torch.tensor([2.0, 0.0, 4.0]))
parameters = {"not": "these"}
"""


def test_the_command_takes_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.py").write_text(FILE)
    words = [
        "--out",
        tmp_path / "out",
        "--effort",
        "flow",
        "--steps",
        "200",
        "-n",
        "2000",
        "--quiet",
        "--json",
    ]
    assert run("infer", f"{tmp_path}/model.py:target", *words) == 0
    found = answer(capsys)
    assert found["trusted"] is True
    # Gamma(9, 5) after y
    log_z = math.lgamma(9) - math.lgamma(3) + 3 * math.log(2) - 9 * math.log(5) - math.log(2 * 24)
    assert found["log_z"] == pytest.approx(log_z, abs=0.03)
    assert [row["name"] for row in found["summary"]] == ["rate"]
    assert found["summary"][0]["mean"] == pytest.approx(9 / 5, rel=0.05)


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [("target", ["--dim", "3"], "so leave --dim out"), ("other", [], "it has model, target")],
)
def test_the_command_says_what_is_wrong(
    name: str, words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.py").write_text(FILE)
    assert run("infer", f"{tmp_path}/model.py:{name}", "--out", tmp_path / "out", *words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
