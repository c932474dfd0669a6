"""Failures that users of other flow libraries met: the inputs of their reports, and what must hold
here.

Numbers are those of the list in `docs/regressions.md`; issue names are abbreviated as there (nf =
normflows, FrEIA, sbi...).
"""

from __future__ import annotations

import copy
import io
import math
import os
import time
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import diffeo
from cases import VECTOR_MODELS, randomise
from diffeo import Chain, Flow
from diffeo.bases import GaussianMixture, Normal, Product, StudentT, Uniform
from diffeo.conditioners import MLP
from diffeo.core.errors import ConfigError, ShapeError
from diffeo.kernels.rq_spline.reference import search as find_bin
from diffeo.layers import (
    ActNorm,
    Coupling,
    Flatten,
    Interval,
    LULinear,
    Permute,
    Pointwise,
    Standardize,
)
from diffeo.maps import (
    Affine,
    CircularSpline,
    CubicSpline,
    ElementwiseMap,
    LinearSpline,
    QuadraticSpline,
    RQSpline,
)
from diffeo.partitions import Halves
from test_contract import NoFloat64, tensors

MODELS = list(VECTOR_MODELS)
SPLINES = ["rational_quadratic", "linear", "quadratic", "cubic"]  # that nsf advertises
Spline = RQSpline | LinearSpline | QuadraticSpline | CubicSpline
each_spline = pytest.mark.parametrize(
    "kind", [RQSpline, LinearSpline, QuadraticSpline, CubicSpline]
)
# the reports' own numbers of steps take ten minutes
LONG = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("DIFFEO_LONG"), reason="set DIFFEO_LONG=1 to run it"),
]


def steps(
    flow: Flow, x: Tensor, context: Tensor | None = None, n: int = 20, lr: float = 1e-3
) -> list[float]:
    """The losses of n steps of Adam on all rows."""
    optimizer, losses = torch.optim.Adam(flow.parameters(), lr=lr), []
    for _ in range(n):
        optimizer.zero_grad()
        loss = -flow.log_prob(x, context).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def moons(n: int) -> Tensor:
    datasets = pytest.importorskip("sklearn.datasets")
    return torch.from_numpy(datasets.make_moons(n, noise=0.05, random_state=0)[0]).float()


# --- splines and elementwise maps -----------------------------------------------------------------


@each_spline
def test_reg_01_points_in_the_tails(kind: type[Spline]) -> None:
    """nflows#23: outside the box the spline is the identity, no exception."""
    spline = kind(bins=10, low=-4.0, high=4.0)
    x = torch.tensor([[5.0], [-6.0]])
    y, logdet = spline.forward(x, torch.randn(2, 1, spline.num_params))
    assert torch.equal(y, x)
    assert torch.equal(logdet, torch.zeros(2, 1))


@pytest.mark.parametrize("spline", SPLINES)
def test_reg_02_just_outside_the_box(spline: str) -> None:
    """sbi#373: log_prob(3.01) with B = 3."""
    flow = diffeo.models.nsf((3,), context_shape=(3,), bound=3.0, layers=5, spline=spline)
    randomise(flow)
    assert flow.log_prob(3.01 * torch.ones(1, 3), torch.zeros(1, 3)).isfinite().all()


@each_spline
def test_reg_03_discriminant_rounded_below_zero(kind: type[Spline]) -> None:
    """nflows PR#71: −3.05e-05 where b² = 4ac up to rounding counts as 0; wild parameters in float32
    make such rows.
    """
    spline = kind(bins=8)
    theta = 10 * torch.randn(200_000, spline.num_params)
    y = torch.rand(200_000) * 10 - 5
    x, logdet = spline.inverse(y, theta)
    assert x.isfinite().all()
    assert logdet.isfinite().all()


@pytest.mark.parametrize("spread", [5.0, 20.0])
@pytest.mark.parametrize("seed", range(5))
def test_reg_04_many_samples_of_a_conditional_spline(spread: float, seed: int) -> None:
    """nflows#87: 2-D target, 220-D context, parameters of sd 5 and 20, 20,000 draws: no
    assertion.
    """
    flow = diffeo.models.nsf((2,), context_shape=(220,), layers=2, hidden=(16,), seed=seed)
    with torch.no_grad():
        for layer in flow.modules():
            if isinstance(layer, Coupling):
                layer.conditioner.body[-1].bias.normal_(0, spread)
    draws = flow.sample((20_000,), torch.randn(220), generator=torch.Generator().manual_seed(seed))
    assert draws.isfinite().all()


@each_spline
@pytest.mark.parametrize("bound", [1.0, 3.0, 5.0])
@pytest.mark.parametrize("inverse", [False, True])
def test_reg_06_at_the_boundary(kind: type[Spline], bound: float, inverse: bool) -> None:
    """x in {−B, B, −B − 1e-7, B + 1e-6}: the spline meets its tail, gradients finite."""
    spline = kind(bins=8, low=-bound, high=bound)
    x = torch.tensor([-bound, bound, -bound - 1e-7, bound + 1e-6]).repeat(50).requires_grad_()
    theta = torch.randn(200, spline.num_params, requires_grad=True)
    y, logdet = (spline.inverse if inverse else spline.forward)(x, theta)
    # the knots are a sum of eight sizes: a few units in the last place of the width
    assert (y - x).abs().max() <= 8 * torch.finfo(torch.float32).eps * 2 * bound
    (y.sum() + logdet.sum()).backward()
    assert x.grad is not None
    assert theta.grad is not None
    assert x.grad.isfinite().all()
    assert theta.grad.isfinite().all()


def test_reg_07_domain() -> None:
    """FrEIA PR#160: the box initialises to itself, inside is judged by output knots in reverse, bad
    bins are refused.
    """
    spline = RQSpline(bins=4, low=-2.0, high=7.0, ends="free")
    x = torch.linspace(-2, 7, 101)
    zero = torch.zeros(101, spline.num_params)
    for direction in (spline.forward, spline.inverse):
        torch.testing.assert_close(direction(x, zero)[0], x)
    theta = 2 * torch.randn(101, spline.num_params)
    y, _ = spline.forward(x, theta)
    assert ((y >= -2 - 1e-5) & (y <= 7 + 1e-5)).all()
    torch.testing.assert_close(spline.inverse(y, theta)[0], x, rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match="min_bin"):
        RQSpline(min_bin=1.5)


@pytest.mark.parametrize("spline", SPLINES)
@pytest.mark.parametrize("event", [(4,), (1, 4, 4)], ids=["vector", "image"])
def test_reg_08_every_kind_trains_a_step(spline: str, event: tuple[int, ...]) -> None:
    """pyro#2899: each spline that nsf advertises trains one step, and the step moves every weight's
    tensor.
    """
    settings = (
        {"layers": 2, "hidden": (10,)}
        if len(event) == 1
        else {"size": "tiny", "width": 4, "bits": None}
    )
    flow = diffeo.models.nsf(event, spline=spline, **settings)
    x = torch.randn(32, *event)
    flow.initialize(x)
    before = [p.detach().clone() for p in flow.parameters()]
    # the first step moves the heads, which start at zero
    assert all(math.isfinite(loss) for loss in steps(flow, x, n=2))
    assert not any(torch.equal(p, q) for p, q in zip(flow.parameters(), before, strict=True))
    assert diffeo.models.nsf(**flow.recipe["args"]).log_prob(x).shape == (32,)  # type: ignore[index]


def test_reg_08_unknown_kind() -> None:
    with pytest.raises(ConfigError, match="rational_quadratic, linear, quadratic, cubic"):
        diffeo.models.nsf((4,), spline="quartic")


UNBOUNDED = [RQSpline(bins=10), RQSpline(bins=10, ends="free"), CircularSpline(bins=10)]
UNBOUNDED += [LinearSpline(bins=10), QuadraticSpline(bins=10), CubicSpline(bins=10)]


@pytest.mark.parametrize("map", UNBOUNDED, ids=repr)
def test_reg_09_unbounded_input(map: ElementwiseMap) -> None:
    """nflows#62: each spline takes any input by default, 10 bins, context 1, and trains a step."""
    flow = Flow(Coupling((2,), map, MLP((16,)), context_shape=1), Normal(2))
    x, context = 50 * torch.randn(64, 2), torch.randn(64, 1)
    losses = steps(flow, x, context, n=2)
    assert all(math.isfinite(loss) for loss in losses)
    assert all(p.isfinite().all() for p in flow.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_reg_10_wide_targets(name: str) -> None:
    """jammy_flows#5: targets from −100 to 100, not normalised: losses and gradients finite, and the
    loss falls.
    """
    x = torch.rand(256, 3) * 200 - 100
    losses = steps(diffeo.models.MODELS[name]((3,), hidden=(32, 32), layers=4), x, n=30)
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_reg_11_compiled_is_eager() -> None:
    """TFP#840: the same log-density compiled and eager, with a bounded support at the data's
    end.
    """
    flow = Flow(Chain([Interval(-1.0, 1.0), Coupling((2,), Affine(), MLP((8,)))]), Normal(2))
    randomise(flow)
    x = torch.rand(16, 2) * 1.8 - 0.9
    compiled = torch.compile(flow.log_prob, backend="aot_eager")
    torch.testing.assert_close(compiled(x), flow.log_prob(x))


# --- affine, deep ---------------------------------------------------------------------------------


def _deep(layers: int) -> Flow:
    net = MLP((64, 64))
    links = [Coupling((19,), Affine(), net, Halves(flip=bool(i % 2))) for i in range(layers)]
    return Flow(Chain(links), Normal(19))


@pytest.mark.parametrize(
    "n", [30, pytest.param(300, marks=pytest.mark.slow), pytest.param(5000, marks=LONG)]
)
def test_reg_12_thirty_two_affine_couplings(n: int) -> None:
    """nf#73: D = 19, 32 affine couplings split 10/9, zero heads: finite after every step."""
    x = torch.randn(128, 19) * torch.logspace(-1, 1, 19)
    losses = steps(_deep(32), x, n=n)
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    "n", [2, pytest.param(50, marks=pytest.mark.slow), pytest.param(1000, marks=LONG)]
)
def test_reg_13_wide_leaky_conditioners(n: int) -> None:
    """FrEIA#38: 10 blocks, four LeakyReLU layers of width 768: finite at the start and after
    training.
    """
    flow = diffeo.models.realnvp((6,), layers=10, hidden=(768,) * 4, activation="leaky_relu")
    x = torch.randn(32, 6)
    assert flow.log_prob(x).isfinite().all()
    assert all(math.isfinite(loss) for loss in steps(flow, x, n=n))
    assert flow.log_prob(x).isfinite().all()


def test_reg_20_reverse_of_one_coupling() -> None:
    """GlowIP#2: s = 0.6357, x = 3.4732, t = −5.469."""
    map, theta = Affine(), torch.tensor([[0.6357, -5.469]])
    y, there = map.forward(torch.tensor([3.4732]), theta)
    x, back = map.inverse(y, theta)
    assert float(x) == pytest.approx(3.4732, rel=1e-6)
    assert float(there + back) == 0
    assert map.inverse(torch.tensor([3.4732]), theta)[0].isfinite().all()


def test_reg_21_scales_above_one() -> None:
    """nflows#49: the largest scale is above 1 (it was 1.001) and scale(0) = 1."""
    map = Affine()
    one = torch.ones(1)
    assert map.forward(one, torch.tensor([[100.0, 0.0]]))[0] > 5
    assert map.forward(one, torch.zeros(1, 2))[0] == 1


def test_reg_23_hundred_columns_with_actnorm() -> None:
    """karpathy#3: 100-D data through ActNorm, LU and couplings: loss finite, encode and decode
    agree.
    """
    links: list[diffeo.Transform] = []
    for _ in range(4):
        links += [ActNorm((100,)), LULinear(100), Coupling((100,), Affine(), MLP((64,)))]
    flow = Flow(Chain(links), Normal(100)).initialize(5 + 3 * torch.randn(256, 100))
    x = 5 + 3 * torch.randn(128, 100)
    assert all(math.isfinite(loss) for loss in steps(flow, x, n=5))
    with torch.no_grad():
        z, _ = flow.encode(x)
        torch.testing.assert_close(flow.decode(z)[0], x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["realnvp", "nsf"])
def test_reg_24_reverse_divergence_is_not_negative(name: str) -> None:
    """nflows#56/#76, nf#29: with a normalised target the estimate stays above −3 standard errors
    while training.
    """
    flow = diffeo.models.MODELS[name]((4,), layers=4, hidden=(16,))
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3)
    for _ in range(20):
        x, log_q = flow.sample_and_log_prob((512,))
        terms = log_q - flow.base.log_prob(x)
        seen = terms.detach()
        assert float(seen.mean()) >= -3 * float(seen.std()) / math.sqrt(512) - 1e-6
        optimizer.zero_grad()
        terms.mean().backward()
        optimizer.step()


@pytest.mark.parametrize("name", MODELS)
def test_reg_25_the_default_base_has_nothing_to_train(name: str) -> None:
    """deeprob-kit#22."""
    assert list(diffeo.models.MODELS[name]((3,)).base.parameters()) == []
    for base in (Normal(2), Uniform(2), StudentT(2), Product([([0, 1], Normal(2))])):
        assert list(base.parameters()) == []
    assert len(list(GaussianMixture(2).parameters())) == 3


def test_reg_26_conditioner_ending_in_relu() -> None:
    """nflows#89: 71 outputs, batch of 256: backward works (nothing is changed in place)."""

    def factory(in_shape: Any, out_shape: Any, context_shape: Any) -> nn.Module:
        return _Relu(in_shape[0], out_shape)

    layer = Coupling((72,), Affine(), factory)
    y, logdet = layer(torch.randn(256, 72))
    (y.sum() + logdet.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


class _Relu(nn.Module):
    def __init__(self, inputs: int, out_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.out_shape = out_shape
        self.net = nn.Sequential(nn.Linear(inputs, math.prod(out_shape)), nn.ReLU())

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.net(x).unflatten(1, self.out_shape)


# --- set-up and state -----------------------------------------------------------------------------


def _with_actnorm(seed: int = 0) -> Flow:
    torch.default_generator.manual_seed(seed)
    return Flow(
        Chain([ActNorm((3,)), Coupling((3,), RQSpline(), MLP((16,))), ActNorm((3,))]), Normal(3)
    )


def test_reg_27_loading_does_not_set_up_again() -> None:
    """nflows#4, ros#6: after load, a forward pass in training mode changes no parameter and no
    number.
    """
    flow, x = _with_actnorm().initialize(3 + 2 * torch.randn(64, 3)), torch.randn(32, 3)
    steps(flow, x, n=10)
    state = copy.deepcopy(flow.state_dict())
    other = _with_actnorm(seed=1)
    other.load_state_dict(state)
    other.train()
    assert torch.equal(other.log_prob(x), flow.log_prob(x))
    other.log_prob(100 + x)
    assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items())


def test_reg_30_set_up_from_a_batch_of_one() -> None:
    """srVAE#7: no division by zero; ros#2: two replicas set up on the same rows are equal."""
    row = torch.tensor([[5.0, -7.0, 0.0]])
    flow = _with_actnorm().initialize(row)
    assert flow.log_prob(row).isfinite().all()
    assert all(
        value.isfinite().all() for value in flow.state_dict().values() if value.is_floating_point()
    )
    batch = torch.randn(64, 3)
    left, right = (copy.deepcopy(_with_actnorm()).initialize(batch) for _ in range(2))
    assert all(
        torch.equal(a, b)
        for a, b in zip(left.state_dict().values(), right.state_dict().values(), strict=True)
    )


def test_reg_31_actnorm_of_images_loads_before_any_forward() -> None:
    """FrEIA PR#165: the parameters of ActNorm on (C, H, W) have their shapes from the start."""
    ready, fresh = ActNorm((3, 4, 5)), ActNorm((3, 4, 5))
    ready.initialize(7 + torch.randn(8, 3, 4, 5))
    fresh.load_state_dict(ready.state_dict())
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(fresh(x)[0], ready(x)[0])


def test_reg_33_normalisation_is_in_the_state() -> None:
    """sbi#324: the constants of standardisation travel with the weights, those of the context
    too.
    """
    flow = diffeo.models.realnvp((2,), context_shape=1, layers=1).initialize(
        9 + torch.randn(50, 2), 4 + torch.randn(50, 1)
    )
    state = flow.state_dict()
    assert any(name.endswith("mean") and (value > 8).all() for name, value in state.items())
    assert any(name == "embedding.mean" and (value > 3).all() for name, value in state.items())


@pytest.mark.parametrize("name", MODELS)
def test_reg_34_inverse_before_forward(name: str) -> None:
    """iko#8, INNLab#17: sampling first works, before any forward pass or set-up."""
    assert diffeo.models.MODELS[name]((3,)).sample((5,)).isfinite().all()
    fresh = ActNorm((3,))
    assert torch.equal(fresh.inverse(torch.ones(2, 3))[0], torch.ones(2, 3))


@pytest.mark.parametrize("name", MODELS)
def test_reg_35_pickling_a_whole_model(name: str) -> None:
    """nf#43, FastFlow#3: torch.save of the module itself, for those who insist."""
    flow = diffeo.models.MODELS[name](
        (3,), context_shape=2, supports=["real", "positive", "interval:0:1"], layers=2
    )
    randomise(flow)
    file = io.BytesIO()
    torch.save(flow, file)
    file.seek(0)
    other = torch.load(file, weights_only=False)
    x, context = torch.rand(5, 3), torch.randn(5, 2)
    assert torch.equal(other.log_prob(x, context), flow.log_prob(x, context))
    assert other.recipe == flow.recipe


# --- shapes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("split", ["halves", "alternating", "random"])
def test_reg_36_odd_dimensions(name: str, size: int, split: str) -> None:
    """nf#62: D in {3, 5}, batch 10; margarine#74: odd D in NICE and RealNVP."""
    flow = diffeo.models.MODELS[name]((size,), split=split, layers=4, hidden=(16,)).double()
    randomise(flow)
    x = torch.randn(10, size, dtype=torch.float64)
    again, _ = flow.decode(flow.encode(x)[0])
    torch.testing.assert_close(again, x, rtol=1e-9, atol=1e-9)
    assert flow.sample((10,)).shape == (10, size)


@pytest.mark.parametrize("context", [None, 1])
@pytest.mark.parametrize("name", MODELS)
def test_reg_37_one_dimension(name: str, context: int | None) -> None:
    """nf#58: D = 1, 16 layers, batch of 10,000, two steps, with and without context; nothing
    warned.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flow = diffeo.models.MODELS[name]((1,), context_shape=context, layers=16, hidden=(16,))
        given = None if context is None else torch.randn(10_000, 1)
        losses = steps(flow, 2 * torch.randn(10_000, 1), given, n=2)
    assert all(math.isfinite(loss) for loss in losses)


def test_reg_38_an_image_into_a_vector_coupling() -> None:
    """FrEIA#8, #101: (1, 28, 28) is refused with the remedy named, and the remedy works."""
    with pytest.raises(ShapeError, match=r"layers\.Flatten\(\(1, 28, 28\)\)"):
        Coupling((1, 28, 28), Affine())
    flow = Flow(Chain([Flatten((1, 28, 28)), Coupling((784,), Affine(), MLP((8,)))]), Normal(784))
    assert flow.log_prob(torch.zeros(2, 1, 28, 28)).shape == (2,)
    assert flow.sample((2,)).shape == (2, 1, 28, 28)


# --- conditional, sampling ------------------------------------------------------------------------


def test_reg_46_moons_with_a_label() -> None:
    """FrEIA#98: (100, 1) labels as context, encode and decode."""
    x, context = moons(100), (torch.arange(100) % 2).float()[:, None]
    flow = diffeo.models.nsf((2,), context_shape=1, layers=4, hidden=(16,)).initialize(x, context)
    steps(flow, x, context, n=10)
    z, there = flow.encode(x, context)
    again, back = flow.decode(z, context)
    torch.testing.assert_close(again, x, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(there, -back, rtol=1e-4, atol=1e-4)
    assert flow.log_prob(x, context.long()).shape == (100,)  # labels as integers


def test_reg_47_twelve_conditional_blocks() -> None:
    """FrEIA#35: 12 conditional RealNVP blocks with random permutations, log-scales within 2:
    decode(encode(x, c), c) = x.
    """
    links: list[diffeo.Transform] = []
    for i in range(12):
        links += [
            Coupling((6,), Affine(log_scale=2.0), MLP((32,)), context_shape=3),
            Permute.random(6, seed=i),
        ]
    flow = Flow(Chain(links), Normal(6))
    randomise(flow, spread=0.1)
    x, context = torch.randn(50, 6), torch.randn(50, 3)
    again, _ = flow.decode(flow.encode(x, context)[0], context)
    torch.testing.assert_close(again, x, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        wide = flow.double()
        x, context = x.double(), context.double()
        torch.testing.assert_close(
            wide.decode(wide.encode(x, context)[0], context)[0], x, rtol=1e-9, atol=1e-9
        )


def test_reg_48_an_observation_far_from_all_simulations() -> None:
    """sbi#1372: ten simulations, an observation at 50 ± 1: sampling returns, and returns numbers;
    nothing is rejected.
    """
    torch.default_generator.manual_seed(41)
    theta, seen = torch.randn(10, 3), torch.randn(10, 3)
    flow = diffeo.models.nsf((3,), context_shape=3, layers=5, hidden=(50, 50)).initialize(
        theta, seen
    )
    steps(flow, theta, seen, n=50, lr=5e-3)
    start = time.perf_counter()
    draws = flow.sample((1000,), 50 + torch.randn(3))
    assert draws.isfinite().all()
    assert time.perf_counter() - start < 5


def test_reg_49_sampling_costs_what_density_costs() -> None:
    """zuko#2: at D = 200 the ratio of sample to log_prob is at most 3 (it was 70)."""
    flow = diffeo.models.realnvp((200,), layers=8, hidden=(128,))
    x = torch.randn(256, 200)
    with torch.no_grad():
        times = {
            "log_prob": _fastest(lambda: flow.log_prob(x)),
            "sample": _fastest(lambda: flow.sample((256,))),
        }
    assert times["sample"] <= 3 * times["log_prob"]


def _fastest(call: Any, repeats: int = 7) -> float:
    call()
    spans = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        spans.append(time.perf_counter() - start)
    return min(spans)


def test_reg_51_second_backward() -> None:
    """pyro#2545: scaled circles; a second loss and backward need no cache cleared."""
    datasets = pytest.importorskip("sklearn.datasets")
    x = torch.from_numpy(
        datasets.make_circles(1000, factor=0.5, noise=0.05, random_state=0)[0]
    ).float()
    flow = diffeo.models.nsf((2,), layers=2, hidden=(16,)).initialize(x)
    grads = []
    for _ in range(2):
        flow.zero_grad()
        (-flow.log_prob(x).mean()).backward()
        grads.append([p.grad.clone() for p in flow.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_reg_53_outside_the_support() -> None:
    """flowjax#147: uniform base and Gaussian data; flowjax#74: the log-density outside is −inf, not
    an error or NaN.
    """
    flow = Flow(Pointwise((2,), RQSpline(low=-5.0, high=5.0, ends="free")), Uniform(2, -5.0, 5.0))
    randomise(flow)
    x = torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, -1e9]])
    found = flow.log_prob(x)
    assert found[0].isfinite()
    assert (found[1:] == -math.inf).all()
    found[found.isfinite()].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in flow.parameters())


# --- deployment -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_reg_57_no_float64(name: str) -> None:
    """sbi PR#912: a float32 model with a context holds no float64 tensor and makes none, sampling
    and training included.
    """
    flow = diffeo.models.MODELS[name]((3,), context_shape=2, layers=2, hidden=(16,))
    flow.initialize(torch.randn(50, 3), torch.randn(50, 2))
    assert {t.dtype for t in tensors(flow)} <= {torch.float32, torch.int64, torch.bool}
    x, context = torch.randn(8, 3), torch.randn(8, 2)
    with NoFloat64():
        flow.log_prob(x, context).sum().backward()
        flow.sample((2,), context)
        flow.sample_and_log_prob((2,), context)


@pytest.mark.parametrize("name", ["realnvp", "nsf"])
def test_reg_58_traced_for_deployment(name: str) -> None:
    """glow-tts#39: torch.export of the density in evaluation mode, weights with gradients and all,
    is the same function.
    """
    flow = diffeo.models.MODELS[name]((3,), layers=1, hidden=(8,)).eval()
    randomise(flow)
    x = torch.randn(5, 3)
    exported = torch.export.export(_Density(flow), (x,), strict=False).module()
    torch.testing.assert_close(exported(x), flow.log_prob(x))


class _Density(nn.Module):
    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor) -> Tensor:
        return self.flow.log_prob(x)


def test_reg_59_building_is_linear_in_dimensions() -> None:
    """pzflow#85: build and first step at D in {2, 10, 30, 100}: no faster than linear growth,
    generously.
    """

    def first_step(size: int) -> None:
        steps(diffeo.models.nsf((size,), layers=4), torch.randn(64, size), n=1)

    times = {size: _fastest(lambda n=size: first_step(n), 3) for size in (2, 10, 30, 100)}
    for size, span in times.items():
        assert span <= 3 * times[2] * max(size / 2, 1)


def test_reg_60_finding_the_bin() -> None:
    """nflows#19: 5,000 rows × 16 bins: finding the bin costs within three times torch.searchsorted,
    and finds the same.
    """
    knots = torch.rand(5000, 17).sort(dim=1).values
    x = torch.rand(5000)
    inner = knots[:, 1:-1].contiguous()
    assert torch.equal(find_bin(x, knots[:, 1:-1]), (x[:, None] >= inner).sum(1, keepdim=True))
    # on a knot: the bin to its right
    assert torch.equal(find_bin(inner[:, 3], inner), torch.full((5000, 1), 4))
    search = _fastest(lambda: torch.searchsorted(inner, x[:, None]), 300)
    compare = _fastest(lambda: find_bin(x, knots[:, 1:-1]), 300)
    assert compare <= 3 * search


def test_standardize_keeps_constant_columns_finite() -> None:
    """Not of the list, but of its kind: a constant column is named in a warning and divides nothing
    by zero.
    """
    x = torch.cat([torch.randn(50, 1), torch.full((50, 1), 3.0)], 1)
    layer = Standardize((2,))
    with pytest.warns(UserWarning, match=r"entries \[1\] are constant"):
        layer.initialize(x)
    y, logdet = layer(x)
    assert y.isfinite().all()
    assert logdet.isfinite().all()
    assert torch.equal(y[:, 1], torch.zeros(50))
