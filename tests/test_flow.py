"""`Flow`: sample shapes, contexts of any batch shape, temperature, generators, errors, supports,
float64 data.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import diffeo
from cases import VECTOR_MODELS, randomise
from diffeo import Chain, Flow
from diffeo.bases import Normal
from diffeo.core.errors import ConfigError, ContextError, ExactnessError, ShapeError
from diffeo.layers import Coupling, Flatten, LULinear, Standardize
from diffeo.maps import Affine

SMALL = {"layers": 2, "hidden": (8,), "activation": "silu"}


def small(name: str = "nsf", size: int = 3, context: int | None = None, **options: object) -> Flow:
    """A small model with random parameters."""
    flow = diffeo.models.MODELS[name]((size,), context_shape=context, **{**SMALL, **options})
    assert isinstance(randomise(flow), Flow)
    return flow.eval()


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- shapes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,), (2, 0)])
@pytest.mark.parametrize("batch", [None, (), (5,), (2, 1)])
def test_sample_shapes(shape: tuple[int, ...], batch: tuple[int, ...] | None) -> None:
    """(*shape, *context_batch, *event), and one log-density for each draw."""
    flow = small(context=None if batch is None else 2)
    context = None if batch is None else torch.randn(*batch, 2)
    whole = (*shape, *(batch or ()))
    assert flow.sample(shape, context).shape == (*whole, 3)
    x, log_prob = flow.sample_and_log_prob(shape, context)
    assert (x.shape, log_prob.shape) == ((*whole, 3), whole)


@pytest.mark.parametrize(
    ("rows", "contexts", "out"),
    [
        ((), (), ()),
        ((4,), (), (4,)),
        ((), (4,), (4,)),
        ((5, 4), (4,), (5, 4)),
        ((5, 1), (4,), (5, 4)),
        ((4,), (5, 1), (5, 4)),
    ],
)
def test_batches_of_rows_and_contexts_broadcast(
    rows: tuple[int, ...], contexts: tuple[int, ...], out: tuple[int, ...]
) -> None:
    """As one row with one context at a time would have it."""
    flow = small(context=2).double()
    x, context = torch.randn(*rows, 3).double(), torch.randn(*contexts, 2).double()
    found = flow.log_prob(x, context)
    assert found.shape == out
    all_x, all_context = x.expand(*out, 3).reshape(-1, 3), context.expand(*out, 2).reshape(-1, 2)
    one_by_one = torch.stack([flow.log_prob(a, b) for a, b in zip(all_x, all_context, strict=True)])
    torch.testing.assert_close(found.flatten(), one_by_one)
    z, logdet = flow.encode(x, context)
    again, back = flow.decode(z, context)
    assert (z.shape, logdet.shape) == ((*out, 3), out)
    torch.testing.assert_close(again, x.expand(*out, 3))
    torch.testing.assert_close(back, -logdet)


def test_multidimensional_event() -> None:
    flow = Flow(Chain([Flatten((2, 3)), LULinear(6)]), Normal(6))
    assert flow.event_shape == (2, 3)
    assert flow.sample((4, 5)).shape == (4, 5, 2, 3)
    assert flow.log_prob(torch.zeros(4, 5, 2, 3)).shape == (4, 5)
    assert flow.log_prob(torch.zeros(4, 2, 3, dtype=torch.float64)).dtype == torch.float32


def test_ten_thousand_contexts_one_draw_each() -> None:
    """In one call, and each draw follows its own context."""
    flow = small("realnvp", context=1)
    with torch.no_grad():
        context = torch.linspace(-3, 3, 10_000)[:, None]
        drawn = flow.sample((), context, generator=seeded())
        alone = flow.sample((10_000,), context[7_000], generator=seeded())
    assert drawn.shape == (10_000, 3)
    torch.testing.assert_close(drawn[7_000], alone[7_000], rtol=1e-4, atol=1e-4)


def test_one_row_keeps_its_axis() -> None:
    """A batch of one is not squeezed away (anomalib#450)."""
    flow = small()
    assert flow.log_prob(torch.zeros(1, 3)).shape == (1,)
    assert flow.log_prob(torch.zeros(3)).shape == ()
    assert flow.sample((1,)).shape == (1, 3)


# --- draws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VECTOR_MODELS)
@pytest.mark.parametrize("context", [None, 2])
def test_pair_agrees_with_log_prob(name: str, context: int | None) -> None:
    """sample_and_log_prob gives log_prob at its draws, and the draws of sample with the same
    generator.
    """
    flow = small(name, context=context).double()
    given = None if context is None else torch.randn(5, 2, dtype=torch.float64)
    x, log_prob = flow.sample_and_log_prob((20,), given, generator=seeded())
    torch.testing.assert_close(log_prob, flow.log_prob(x, given))
    assert torch.equal(x, flow.sample((20,), given, generator=seeded()))


def test_temperature() -> None:
    """At temperature T the pair's density is that of base draws scaled by T; draws shrink towards
    the mode.
    """
    flow = small("realnvp").double()
    x, log_prob = flow.sample_and_log_prob((4000,), temperature=0.5, generator=seeded())
    z, logdet = flow.encode(x)
    assert z.std(0).detach().tolist() == pytest.approx([0.5] * 3, rel=0.05)
    normal = torch.distributions.Normal(torch.zeros(3, dtype=torch.float64), 0.5)
    torch.testing.assert_close(log_prob, normal.log_prob(z).sum(-1) + logdet)


def test_generator() -> None:
    flow = small()
    before = torch.get_rng_state()
    first, again, other = (flow.sample((6,), generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_carry_no_gradient_and_pairs_do() -> None:
    flow = small()
    assert not flow.sample((3,)).requires_grad
    x, log_prob = flow.sample_and_log_prob((3,))
    assert x.requires_grad
    assert log_prob.requires_grad


def test_density_integrates_to_one() -> None:
    """Over the plane, by the trapezium rule, with a context."""
    flow = small("nsf", size=2, context=1).double()
    t = torch.linspace(-12, 12, 481, dtype=torch.float64)
    points = torch.cartesian_prod(t, t)
    with torch.no_grad():
        mass = (
            flow.log_prob(points, torch.tensor([0.7], dtype=torch.float64)).exp().sum()
            * (t[1] - t[0]) ** 2
        )
    assert float(mass) == pytest.approx(1, abs=2e-3)


def test_initialize_returns_the_flow() -> None:
    flow = small("realnvp", context=1)
    x, context = 5 + 3 * torch.randn(100, 3), 7 + torch.randn(100, 1)
    assert flow.initialize(x, context) is flow
    assert flow.transform[0](x)[0].mean().abs() < 1e-5
    assert flow.embedding is not None
    assert flow.embedding(context).std(unbiased=False) == pytest.approx(1, rel=1e-4)


# --- as a torch distribution ----------------------------------------------------------------------


def test_condition() -> None:
    flow, context = small(context=2), torch.randn(5, 2)
    at = flow.condition(context)
    assert isinstance(at, torch.distributions.Distribution)
    assert (at.batch_shape, at.event_shape) == ((5,), (3,))
    assert at.has_rsample
    x = at.sample((4,))
    assert x.shape == (4, 5, 3)
    assert torch.equal(at.log_prob(x), flow.log_prob(x, context))
    assert bool(at.support.check(x).all())
    drawn = at.rsample((2,))
    drawn.sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in flow.parameters())
    assert at.expand((4, 5)).sample((2,)).shape == (2, 4, 5, 3)
    assert at.expand((4, 5)).batch_shape == (4, 5)


def test_condition_of_an_unconditional_flow_expands() -> None:
    """The batch shape is that of the draws, as torch.distributions has it."""
    at = small().condition()
    assert (at.batch_shape, at.event_shape) == ((), (3,))
    wide = at.expand((4,))
    assert wide.batch_shape == (4,)
    assert wide.sample().shape == (4, 3)
    assert wide.rsample((2,)).shape == (2, 4, 3)
    assert wide.log_prob(torch.zeros(4, 3)).shape == (4,)
    assert wide.log_prob(torch.zeros(3)).shape == (4,)


def test_condition_in_torch_wrappers() -> None:
    """Independent and TransformedDistribution take it as they take any other."""
    at = small(context=2).condition(torch.randn(5, 2))
    whole = torch.distributions.Independent(at, 1)
    x = whole.sample((3,))
    torch.testing.assert_close(whole.log_prob(x), at.log_prob(x).sum(-1))
    shifted = torch.distributions.TransformedDistribution(
        at, [torch.distributions.AffineTransform(1.0, 2.0)]
    )
    y = shifted.sample((3,))
    torch.testing.assert_close(
        shifted.log_prob(y), at.log_prob((y - 1) / 2) - 3 * math.log(2), rtol=1e-4, atol=1e-4
    )


# --- errors ---------------------------------------------------------------------------------------


def test_errors_name_the_offending_link() -> None:
    with pytest.raises(
        ShapeError, match=r"link 1 \(LULinear\).*\(3,\).*\(4,\)|link 1 \(LULinear\).*\(4,\).*\(3,\)"
    ):
        Flow(Chain([Standardize((4,)), LULinear(3), LULinear(4)]), Normal(4))
    with pytest.raises(ContextError, match="contexts of different shapes"):
        Chain([Coupling((2,), Affine(), context_shape=(n,)) for n in (1, 2)])
    with pytest.raises(ShapeError, match="Flatten"):
        Coupling((1, 28, 28), Affine())


@pytest.mark.parametrize("bad", [(4,), (5, 4), (), (3, 1)])
def test_wrong_rows(bad: tuple[int, ...]) -> None:
    flow = small()
    for call in (flow.log_prob, flow.encode, flow.decode, flow.initialize):
        with pytest.raises(ShapeError, match=r"does not end in the event shape \(3,\)"):
            call(torch.zeros(bad))


def test_wrong_contexts() -> None:
    flow = small(context=2)
    with pytest.raises(ContextError, match=r"needs a context of shape \(2,\)"):
        flow.sample((3,))
    with pytest.raises(ContextError, match=r"\(5, 3\).*\(2,\)"):
        flow.log_prob(torch.zeros(5, 3), torch.zeros(5, 3))
    with pytest.raises(ContextError, match="does not fit a batch"):
        flow.log_prob(torch.zeros(5, 3), torch.zeros(4, 2))
    with pytest.raises(ContextError, match="takes no context"):
        small().log_prob(torch.zeros(5, 3), torch.zeros(5, 2))
    with pytest.raises(ContextError, match=r"\(2,\), not \(3,\)"):
        Flow(Coupling((2,), Affine(), context_shape=2), Normal(2), context_shape=3)


def test_inexact_pairs_are_refused() -> None:
    flow = small(size=2, supports=["integer", "real"])
    assert not flow.exact
    with pytest.raises(ExactnessError, match="dequantises"):
        flow.sample_and_log_prob((3,))
    assert torch.equal(flow.sample((50,))[:, 0] % 1, torch.zeros(50, dtype=torch.float64))


@pytest.mark.parametrize(
    "settings",
    [
        {"supports": ["real"]},
        {"supports": ["real", "nonsense", "real"]},
        {"supports": ["real", "interval", "real"]},
        {"split": "thirds"},
        {"base": "cauchy"},
        {"residual": True, "hidden": (8, 9)},
        {"activation": "sigmoidal"},
        {"bins": 1},
    ],
)
def test_bad_model_settings(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        diffeo.models.nsf((3,), **settings)


def test_circles_are_for_splines() -> None:
    with pytest.raises(ConfigError, match="circular"):
        diffeo.models.realnvp((1,), supports=["circular:0:1"])


# --- float64 data ---------------------------------------------------------------------------------


def _exact_gaussian(x: Tensor) -> Tensor:
    """The log-density of the untrained model: independent normals with the data's own moments, in
    float64.
    """
    scaled = (x - x.mean(0)) / x.std(0, unbiased=False)
    constant = x.shape[1] * 0.5 * math.log(2 * math.pi) + x.std(0, unbiased=False).log().sum()
    return -0.5 * scaled.square().sum(1) - constant


@pytest.mark.parametrize(
    ("centre", "spread"),
    [(1.7e9, 1.0), (1e30, 1e28), (0.0, 1e30), (1e-30, 1e-32), (0.0, 1e-30), (-5e7, 1e-3)],
)
def test_float64_columns_lose_nothing(centre: float, spread: float) -> None:
    """Timestamps (1.7e9 ± 1) and 1e±30: the density is that of an exact float64 reference, the
    round trip is float64's.
    """
    x = centre + spread * torch.randn(500, 2, dtype=torch.float64, generator=seeded())
    flow = diffeo.models.realnvp((2,), supports=["real", "real"], **SMALL).initialize(x)
    reference = _exact_gaussian(x)
    assert (flow.log_prob(x).double() - reference).abs().max() < 3e-5 * (
        1 + reference.abs().max() / 10
    )
    z, _ = flow.encode(x)
    assert z.dtype == torch.float32
    again, _ = flow.decode(z)
    assert again.dtype == torch.float64
    # z is float32: it holds 24 bits of the position within the spread; the centre costs nothing
    assert (again - x).abs().max() < 1e-6 * spread + 4e-16 * abs(centre)


def test_float64_columns_in_a_random_flow() -> None:
    x = 1.7e9 + torch.randn(500, 2, dtype=torch.float64, generator=seeded())
    flow = diffeo.models.nsf((2,), supports=["real", "real"], **SMALL).initialize(x)
    randomise(flow)
    again, _ = flow.decode(flow.encode(x)[0])
    assert (again - x).abs().max() < 1e-4
    samples = flow.sample((200,))
    assert samples.dtype == torch.float64
    assert 1e8 > (samples - 1.7e9).abs().max() > 0.01
    assert len(samples.unique()) > 390  # float32 would have a grid of 128


def test_mixed_scales_side_by_side() -> None:
    """A row may hold 1e30 and 1e-30."""
    scale = torch.tensor([1e30, 1e-30, 1.0], dtype=torch.float64)
    x = scale * torch.randn(300, 3, dtype=torch.float64, generator=seeded())
    flow = diffeo.models.nsf((3,), supports=["real"] * 3, **SMALL).initialize(x)
    randomise(flow)
    again, _ = flow.decode(flow.encode(x)[0])
    assert ((again - x) / scale).abs().max() < 1e-4
    assert flow.log_prob(x).isfinite().all()


# --- supports -------------------------------------------------------------------------------------

SUPPORTS = ["positive", "interval:-1:3", "circular:0:360", "real"]


def with_supports() -> tuple[Flow, Tensor]:
    g = seeded()
    parts = [
        torch.randn(400, generator=g).exp(),
        -1 + 4 * torch.rand(400, generator=g),
        360 * torch.rand(400, generator=g),
        torch.randn(400, generator=g),
    ]
    x = torch.stack(parts, 1).double()
    flow = diffeo.models.nsf((4,), supports=SUPPORTS, **SMALL).initialize(x)
    randomise(flow)
    return flow, x


def test_draws_stay_in_their_supports() -> None:
    flow, _ = with_supports()
    x = flow.sample((5000,), generator=seeded())
    assert (x[:, 0] > 0).all()
    assert ((x[:, 1] > -1) & (x[:, 1] < 3)).all()
    assert ((x[:, 2] >= 0) & (x[:, 2] < 360)).all()
    assert flow.log_prob(x).isfinite().all()


@pytest.mark.parametrize(
    ("column", "value"), [(0, 0.0), (0, -1.0), (0, math.inf), (1, -1.0), (1, 3.0), (1, 7.0)]
)
def test_outside_a_support_is_minus_infinity(column: int, value: float) -> None:
    """−inf for that row, no exception, no NaN, and the other rows and all gradients as they
    were.
    """
    flow, x = with_supports()
    rows = x[:5].clone()
    clean = flow.log_prob(rows)
    rows[2, column] = value
    found = flow.log_prob(rows)
    assert found[2] == -math.inf
    assert torch.equal(found[[0, 1, 3, 4]], clean[[0, 1, 3, 4]])
    found[[0, 1, 3, 4]].sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in flow.parameters())


def test_circle_is_seamless() -> None:
    """The density is the same a full turn on and continuous across the seam."""
    flow, x = with_supports()
    rows = x[:50]
    turned = rows.clone()
    turned[:, 2] += 360
    torch.testing.assert_close(flow.log_prob(turned), flow.log_prob(rows), rtol=1e-3, atol=1e-3)
    left, right = rows.clone(), rows.clone()
    left[:, 2], right[:, 2] = 1e-4, 360 - 1e-4
    torch.testing.assert_close(flow.log_prob(left), flow.log_prob(right), rtol=1e-3, atol=5e-3)


def test_supports_integrate_to_one() -> None:
    """Positive × circular over a fine grid, in the data's own units."""
    g = seeded()
    x = torch.stack(
        [torch.randn(400, generator=g).mul(0.5).exp(), 2 * torch.rand(400, generator=g)], 1
    ).double()
    flow = diffeo.models.nsf((2,), supports=["positive", "circular:0:2"], **SMALL).initialize(x)
    randomise(flow)
    u = torch.linspace(-6, 6, 600, dtype=torch.float64)
    angle = (torch.arange(200, dtype=torch.float64) + 0.5) / 100
    points = torch.cartesian_prod(u.exp(), angle)
    with torch.no_grad():
        mass = (flow.log_prob(points).double().exp() * points[:, 0]).sum() * (u[1] - u[0]) * 0.01
    assert float(mass) == pytest.approx(1, abs=5e-3)


def test_integers_are_a_bound() -> None:
    """The mean over noise of the log-density stays below the log of the mean density over the unit
    cell: the exact mass.
    """
    x = torch.randint(0, 6, (500, 1), generator=seeded()).double()
    flow = diffeo.models.nsf((1,), supports=["integer"], **SMALL).initialize(x)
    randomise(flow)
    with torch.no_grad():
        terms = flow.log_prob(torch.full((20_000, 1), 3.0, dtype=torch.float64))
        tail = Chain(list(flow.transform)[1:])  # the density of the dequantised values
        cell = 3 + (torch.arange(2000, dtype=torch.float64)[:, None] + 0.5) / 2000
        z, logdet = tail(cell)
        exact = (flow.base.log_prob(z) + logdet).double().exp().mean().log()
    assert terms.std() > 1e-3
    assert terms.mean() <= exact
    assert float(terms.double().exp().mean().log()) == pytest.approx(float(exact), abs=0.02)


def test_interval_has_a_gradient_at_its_middle() -> None:
    """dx/dy = (high − low) / 4 at y = 0, where the two forms of the inverse meet."""
    y = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    x, _ = diffeo.layers.Interval(-1.0, 3.0).inverse(y)
    (slope,) = torch.autograd.grad(x.sum(), y)
    assert slope.item() == pytest.approx(1.0)
