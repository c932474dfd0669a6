"""The density of anything that can be asked for: rows beyond all numbers, off the integers, of the
wrong shape, arrays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import diffeo
import test_contract as contract
from cases import BASES, TRANSFORMS, BaseCase, randomise
from diffeo import Chain, Flow, Inverse, bases, layers, maps
from diffeo.conditioners import OneHot, StandardizeContext
from diffeo.core.errors import ContextError, DataError, ExactnessError, ShapeError
from diffeo.domains.image import bits_of
from diffeo.layers.fixed_shape import FixedShape

HUGE = (1e38, -1e38, 1e39, -1e100, 1e300, 1.7976931348623157e308, -math.inf, math.inf)
SMALL: dict[str, Any] = {"layers": 2, "hidden": (8,), "activation": "silu"}


def small(name: str = "nsf", size: int = 2, context: Any = None, **options: Any) -> Flow:
    flow = diffeo.models.MODELS[name]((size,), context, **{**SMALL, **options})
    assert isinstance(randomise(flow), Flow)
    return flow.eval()


def rows_with(values: tuple[float, ...], size: int) -> Tensor:
    """Each value alone in the first and in the last entry, and everywhere."""
    rows = []
    for value in values:
        first, last = torch.zeros(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
        first[0], last[-1] = value, value
        rows += [first, last, torch.full((size,), value, dtype=torch.float64)]
    return torch.stack(rows)


# --- rows beyond all numbers ----------------------------------------------------------------------


def _takes_everything(name: str) -> bool:
    """Whatever is undone at the front, such as the inverse of a logarithm, may have densities far
    out.
    """
    return not name.startswith(("inverse/positive",))


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if _takes_everything(name)])
def test_huge_rows_are_no_nan(name: str) -> None:
    """In float32, of float64 input: a number or −inf, while NaN stays NaN, row by row."""
    case = TRANSFORMS[name]
    flow = contract.as_flow(case)
    _, context = case.inputs(3 * len(HUGE) + 1, torch.float64)
    x = rows_with(HUGE, math.prod(case.event)).reshape(-1, *case.event)
    x = torch.cat([x, torch.full_like(x[:1], math.nan)])
    with torch.no_grad():
        log_prob = flow.log_prob(x, context)
    assert log_prob[-1].isnan()
    assert not log_prob[:-1].isnan().any()
    assert not (log_prob == math.inf).any()


@pytest.mark.parametrize("name", ["nice", "realnvp", "nsf"])
@pytest.mark.parametrize(
    "settings", [{}, {"mixing": "lu"}, {"supports": ["real", "real"]}, {"base": "mixture"}], ids=str
)
def test_huge_rows_have_no_density(name: str, settings: dict[str, Any]) -> None:
    """−inf exactly, after standardisation as well, and the others' values and gradients are as
    without them.
    """
    flow, x = small(name, **settings), torch.randn(50, 2, dtype=torch.float64)
    flow.initialize(x)
    clean, huge = flow.log_prob(x), rows_with(HUGE, 2)
    wanted = torch.autograd.grad(clean.sum(), list(flow.parameters()), allow_unused=True)
    found = flow.log_prob(torch.cat([huge, x]))
    assert (found[: len(huge)] == -math.inf).all()
    torch.testing.assert_close(found[len(huge) :], clean)
    grads = torch.autograd.grad(
        found[len(huge) :].sum(), list(flow.parameters()), allow_unused=True
    )
    for one, other in zip(grads, wanted, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", list(BASES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_huge_rows_of_bases(name: str, dtype: torch.dtype) -> None:
    base = BASES[name].ready(dtype)
    x = rows_with(HUGE, 2)
    log_prob = base.log_prob(x.to(dtype))
    assert not log_prob.isnan().any()
    assert (log_prob < -60).all()
    mixed = torch.tensor([[math.nan, math.inf], [1e300, math.nan]], dtype=torch.float64)
    assert base.log_prob(mixed.to(dtype)).isnan().all()


def test_student_t_has_its_tail_in_float32() -> None:
    base = bases.StudentT((1,), df=3.0)
    one, other = base.log_prob(torch.tensor([[1e25], [1e35]]))
    assert float(one - other) == pytest.approx(4 * math.log(1e10), rel=1e-5)


@pytest.mark.parametrize("value", HUGE)
def test_huge_contexts(value: float) -> None:
    """A context beyond all numbers gives a number or −inf, one of NaN gives NaN, and the others are
    as they were.
    """
    flow, x = small(context=2), torch.randn(4, 2)
    context = torch.randn(4, 2, dtype=torch.float64)
    clean = flow.log_prob(x, context)
    context[1, 0], context[2, 1] = value, math.nan
    found = flow.log_prob(x, context)
    assert not found[1].isnan()
    assert found[2].isnan()
    torch.testing.assert_close(found[[0, 3]], clean[[0, 3]])


def test_broken_weights_stay_nan() -> None:
    """A model that has diverged has no density, so −inf would be an answer too many."""
    flow = small()
    with torch.no_grad():
        next(flow.parameters())[0] = math.nan
    assert flow.log_prob(torch.zeros(3, 2)).isnan().all()


def test_huge_rows_inside_graphs() -> None:
    """Under `torch.func`, and so wherever branches on values are not allowed, the answers are the
    same.
    """
    flow, x = small(), torch.tensor([[1e39, 0.0], [math.nan, 0.0], [0.0, 0.0]], dtype=torch.float64)
    with torch.no_grad():
        one_by_one = torch.func.vmap(flow.log_prob)(x)
        torch.testing.assert_close(one_by_one, flow.log_prob(x), equal_nan=True)
    assert one_by_one[0] == -math.inf


# --- off the lattice ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nice", "realnvp", "nsf"])
def test_integer_columns_have_no_density_off_the_integers(name: str) -> None:
    flow = small(name, supports=["integer", "real"])
    x = torch.tensor(
        [[0.5, 0.0], [3.0, 0.5], [-2.0, 1.0], [2.000001, 0.0], [1e300, 0.0], [math.nan, 0.0]],
        dtype=torch.float64,
    )
    found = flow.log_prob(x)
    assert found.isfinite().tolist() == [False, True, True, False, False, False]
    assert (found[[0, 3, 4]] == -math.inf).all()
    assert found[5].isnan()


@pytest.mark.parametrize(
    "build",
    [lambda: small_image(8), lambda: small_image(3), lambda: flowpp()],
    ids=["8", "3", "learned"],
)
def test_pixels_have_no_density_off_their_levels(build: Callable[[], Flow]) -> None:
    flow = build()
    for dtype in (torch.float32, torch.float64, torch.int64, torch.int16):
        image = torch.ones(5, 1, 4, 4, dtype=dtype)
        image[1, 0, 2, 3] = -1
        image[2, 0, 0, 0] = 2 ** (bits_of(flow) or 0)
        image[3, 0, 0, 0] = 0.5 if dtype.is_floating_point else 300
        found = flow.log_prob(image)
        assert found.isfinite().tolist() == [True, False, False, False, True]
        assert (found[1:4] == -math.inf).all()
    assert flow.log_prob(torch.ones(1, 1, 4, 4, dtype=torch.bool)).isfinite().all()
    assert flow.log_prob(torch.full((1, 1, 4, 4), math.nan)).isnan().all()


def small_image(bits: int) -> Flow:
    return diffeo.models.glow((1, 4, 4), size="tiny", width=4, steps=1, bits=bits).eval()


def flowpp() -> Flow:
    return diffeo.models.flowpp((1, 4, 4), size="tiny", width=4, heads=0, bits=5).eval()


# --- shapes ---------------------------------------------------------------------------------------


def wrong_events(event: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Other sizes, halves that would broadcast or tile, an axis more and an axis fewer."""
    others = [
        (*event[:i], n, *event[i + 1 :])
        for i in range(len(event))
        for n in (1, 2 * event[i], event[i] + 1)
    ]
    return [shape for shape in [*others, (*event, 1), (1, *event), event[1:]] if shape != event]


SHAPED = [
    name
    for name, case in TRANSFORMS.items()
    if isinstance(case.build(), (FixedShape, layers.VariationalDequantize))
]
CHAINS = [
    name
    for name in TRANSFORMS
    if name.split("/")[0] in ("chain", "recompute", "inverse", "factor_out", "columns")
]


@pytest.mark.parametrize("name", SHAPED + [name for name in CHAINS if name not in SHAPED])
def test_layers_refuse_rows_of_another_shape(name: str) -> None:
    """What `forward_shape` and `inverse_shape` refuse, the two directions do."""
    case = TRANSFORMS[name]
    transform = case.ready(torch.float32)
    _, context = case.inputs(2, torch.float32)
    out = transform.forward_shape(case.event)
    for shapes, rule, direction in (
        (wrong_events(case.event), transform.forward_shape, transform),
        (wrong_events(out), transform.inverse_shape, transform.inverse),
    ):
        refused = 0
        for shape in shapes:
            try:
                rule(shape)
            except ShapeError:
                refused += 1
                with pytest.raises(ShapeError):
                    direction(torch.zeros(2, *shape), context)
        assert refused == len(shapes) or not isinstance(transform, FixedShape)


def test_the_log_det_of_a_convolution_is_that_of_its_own_shape() -> None:
    with pytest.raises(
        ShapeError, match=r"Conv1x1 takes rows \(B, \*\(3, 8, 8\)\), got \(5, 3, 4, 4\)"
    ):
        layers.Conv1x1((3, 8, 8))(torch.zeros(5, 3, 4, 4))


@pytest.mark.parametrize("event", [(5, 5), (3,), (3, 7, 8)])
def test_squeeze_refuses_what_it_cannot_fold(event: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError):
        layers.Squeeze()(torch.zeros(2, *event))
    with pytest.raises(ShapeError):
        layers.Squeeze().inverse(torch.zeros(2, *event))


def test_couplings_refuse_contexts_of_another_shape() -> None:
    coupling = layers.Coupling((2,), maps.Affine(), context_shape=(2, 3))
    for context in (torch.zeros(4, 3, 2), torch.zeros(4, 6), None):
        with pytest.raises(ContextError):
            coupling(torch.zeros(4, 2), context)
    with pytest.raises(ContextError):
        StandardizeContext((1,))(torch.zeros(4, 3))


@pytest.mark.parametrize(
    "partition",
    [
        diffeo.partitions.Indices(4, [1]),
        diffeo.partitions.alternating(4),
        diffeo.partitions.Tokens((2, 2), "rows"),
    ],
    ids=["indices", "alternating", "tokens"],
)
def test_partitions_refuse_other_sizes(partition: diffeo.partitions.Partition) -> None:
    with pytest.raises(ShapeError):
        partition.split(torch.zeros(2, 6, 3))
    with pytest.raises(ShapeError):
        partition.merge(torch.zeros(2, 4, 3), torch.zeros(2, 4, 3))


def test_checkerboards_refuse_other_sizes() -> None:
    with pytest.raises(ShapeError):
        diffeo.partitions.Checkerboard((1, 4, 4)).split(torch.zeros(2, 1, 6, 4))
    with pytest.raises(ShapeError):
        diffeo.partitions.Checkerboard((1, 4, 4)).merge(
            torch.zeros(2, 2, 3, 2), torch.zeros(2, 2, 3, 2)
        )


# --- draws that carry gradients -------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [name for name, case in BASES.items() if list(case.build().parameters())]
)
def test_pathwise_gradients_are_those_of_the_mean(name: str) -> None:
    """∂ E f(x) / ∂θ by draws equals that of the integral, for every parameter of every base."""
    case: BaseCase = BASES[name]
    base, (points, weight) = case.ready(), grid()
    parameters = list(base.parameters())

    def f(x: Tensor) -> Tensor:
        return 1.3 * x[:, 0] + 0.5 * x[:, 1].square() + torch.sin(x[:, 0] * x[:, 1])

    exact = torch.autograd.grad(
        (base.log_prob(points).exp() * f(points)).sum() * weight, parameters
    )
    x, _ = base.sample_and_log_prob((100_000,), generator=torch.Generator().manual_seed(1))
    for ours, wanted in zip(torch.autograd.grad(f(x).mean(), parameters), exact, strict=True):
        assert (ours - wanted).abs().max() < 0.03 * (1 + wanted.abs().max())


def grid() -> tuple[Tensor, float]:
    t = torch.linspace(-10, 10, 401, dtype=torch.float64)
    return torch.cartesian_prod(t, t), float((t[1] - t[0]) ** 2)


def test_whether_draws_carry_gradients_is_said() -> None:
    for base in ("normal", "student_t", "mixture", "uniform"):
        assert small(base=base).condition().has_rsample
    rounded = small(supports=["integer", "real"]).condition()
    assert not rounded.has_rsample
    with pytest.raises(ExactnessError):
        rounded.rsample()


# --- supports -------------------------------------------------------------------------------------

KINDS = ["positive", "interval:-1:3", "circular:0:360", "integer", "real"]
OUTSIDE = [
    (0, 0.0),
    (0, -1.0),
    (1, -1.0),
    (1, 3.0),
    (1, 7.0),
    (2, 360.0),
    (2, -1.0),
    (3, 0.5),
    (3, math.inf),
    (4, math.nan),
]


def test_support_of_columns() -> None:
    at = small(size=5, supports=KINDS).condition()
    x = at.sample((200,))
    assert at.support.check(x).shape == (200,)
    assert at.support.check(x).all()
    assert at.support.is_discrete
    assert at.support.event_dim == 1
    for column, value in OUTSIDE:
        row = x[0].clone()
        row[column] = value
        assert not at.support.check(row)


@pytest.mark.parametrize(
    "settings",
    [{}, {"base": "uniform"}, {"base": "uniform", "mixing": "lu"}, {"base": "mixture"}],
    ids=str,
)
@pytest.mark.parametrize(
    "supports",
    [None, ["real", "real"], ["interval:0:1", "real"], ["circular:0:1", "positive"]],
    ids=str,
)
def test_support_is_where_the_density_is(
    settings: dict[str, Any], supports: list[str] | None
) -> None:
    at = small(**settings, supports=supports).condition()
    x = 6 * torch.rand(400, 2, dtype=torch.float64) - 3
    if supports is not None and supports[0].startswith("circular"):
        x[:, 0] = x[:, 0].abs() / 3 % 1  # turns further on are the same place, and have a density
    assert torch.equal(at.support.check(x), at.log_prob(x) > -math.inf)
    assert at.support.check(at.sample((100,))).all()


def test_support_of_images() -> None:
    at = small_image(3).condition()
    assert at.support.check(at.sample((2,))).all()
    assert at.support.is_discrete
    assert at.support.event_dim == 3
    assert not at.support.check(torch.full((1, 4, 4), 8))
    assert not at.support.check(torch.full((1, 4, 4), 0.5))
    real = diffeo.models.glow((1, 4, 4), size="tiny", width=4, steps=1, bits=None).condition()
    assert real.support.check(-torch.ones(1, 4, 4))


def test_supports_lead_to_the_reals() -> None:
    """As Pyro asks for: `biject_to` gives values of the support for any reals."""
    at = small(size=3, supports=["positive", "interval:-1:3", "real"]).condition()
    values = torch.distributions.biject_to(at.support)(torch.randn(50, 3))
    assert at.support.check(values).all()


@pytest.mark.parametrize("shape", [(), (2,)])
def test_shapes_and_expansion(shape: tuple[int, ...]) -> None:
    """Contexts of vectors and of single numbers: shapes, draws and densities of an expanded
    distribution agree.
    """
    flow = small(context=shape)
    at = flow.condition(torch.randn(4, *shape)).expand((3, 4))
    x = at.sample((5,))
    assert (at.batch_shape, at.event_shape, x.shape) == ((3, 4), (2,), (5, 3, 4, 2))
    assert at.log_prob(x).shape == (5, 3, 4)
    assert at.rsample().shape == (3, 4, 2)
    assert at.support.check(x).shape == (5, 3, 4)


# --- contexts -------------------------------------------------------------------------------------


def with_embedding(embedding: nn.Module, inner: int, outer: Any) -> Flow:
    coupling = layers.Coupling((2,), maps.Affine(), context_shape=(inner,))
    flow = Flow(
        Chain([coupling, layers.LULinear(2)]),
        bases.Normal(2),
        context_shape=outer,
        embedding=embedding,
    )
    assert isinstance(randomise(flow), Flow)
    return flow


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int32, torch.int64, torch.bool, torch.float64, torch.float16]
)
@pytest.mark.parametrize("double", [False, True])
def test_contexts_of_any_dtype_into_an_embedding(dtype: torch.dtype, double: bool) -> None:
    flow = with_embedding(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), 3, (2, 2))
    flow = flow.double() if double else flow
    context = torch.tensor([[[0, 1], [1, 0]], [[1, 1], [0, 0]]])
    x = torch.randn(2, 2)
    assert torch.equal(
        flow.log_prob(x, context.to(dtype)), flow.log_prob(x, context.to(flow.dtype))
    )
    assert flow.sample((3,), context.to(dtype)).shape == (3, 2, 2)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float64])
def test_class_numbers_are_looked_up(dtype: torch.dtype) -> None:
    for flow in (with_embedding(nn.Embedding(5, 3), 3, ()), with_embedding(OneHot(5), 5, ())):
        c = torch.tensor([0, 4])
        assert torch.equal(
            flow.log_prob(torch.ones(2, 2), c.to(dtype)), flow.log_prob(torch.ones(2, 2), c)
        )
        with pytest.raises(ContextError, match="whole numbers"):
            flow.log_prob(torch.ones(2, 2), torch.tensor([0.5, 1.0]))


class Gate(nn.Module):
    """An embedding of one's own with the standardisation inside."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.net = StandardizeContext((2,)), nn.Linear(2, 3)

    def forward(self, c: Tensor) -> Tensor:
        return self.net(self.scale(c))


@pytest.mark.parametrize(
    "embedding",
    [
        lambda: nn.Sequential(StandardizeContext((2,)), nn.Linear(2, 3)),
        lambda: nn.Sequential(
            nn.Identity(), nn.Sequential(StandardizeContext((2,)), nn.Linear(2, 3))
        ),
        lambda: nn.Sequential(
            nn.Linear(2, 2), StandardizeContext((2,)), nn.ReLU(), nn.Linear(2, 3)
        ),
        Gate,
    ],
    ids=["first", "nested", "later", "own"],
)
def test_contexts_are_standardised_wherever_the_module_sits(
    embedding: Callable[[], nn.Module],
) -> None:
    flow = with_embedding(embedding(), 3, (2,))
    context = 500 + 20 * torch.randn(300, 2)
    flow.initialize(torch.randn(300, 2), context)
    assert flow.embedding is not None
    (part,) = (m for m in flow.embedding.modules() if isinstance(m, StandardizeContext))
    seen: list[Tensor] = []
    part.register_forward_hook(lambda module, args, out: seen.append(out))
    flow.log_prob(torch.randn(300, 2), context)
    torch.testing.assert_close(seen[0].mean(0), torch.zeros(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(seen[0].std(0, unbiased=False), torch.ones(2), atol=1e-3, rtol=0)


def test_a_standardisation_that_nothing_reaches_is_refused() -> None:
    gate = Gate()
    gate.forward = lambda c: gate.net(c)  # type: ignore[method-assign]
    with pytest.raises(ContextError, match="does not call"):
        with_embedding(gate, 3, (2,)).initialize(torch.randn(9, 2), torch.randn(9, 2))


def test_large_whole_contexts_lose_nothing() -> None:
    """Timestamps as int64 are standardised in float64."""
    embed = StandardizeContext((1,))
    times = 1_700_000_000 + torch.arange(5)[:, None]
    embed.initialize(times)
    torch.testing.assert_close(embed(times).std(unbiased=False), torch.tensor(1.0))
    assert torch.equal(embed(times), embed(times.double()))


@pytest.mark.parametrize("name", ["nice", "realnvp", "nsf", "glow", "jet"])
def test_a_single_number_is_a_context(name: str) -> None:
    """`context_shape=()`: contexts (B,), which are what contexts (B, 1) are to
    `context_shape=(1,)`.
    """
    event = (2,) if name in ("nice", "realnvp", "nsf") else (1, 4, 4)
    settings = SMALL if len(event) == 1 else {"size": "tiny", "bits": None, "width": 4}
    both = [diffeo.models.MODELS[name](event, shape, **settings) for shape in ((), (1,))]
    c, x = 3 + torch.randn(6), torch.randn(6, *event)
    for flow, context in zip(both, (c, c[:, None]), strict=True):
        flow.initialize(x, context)
        randomise(flow)
    torch.testing.assert_close(both[0].log_prob(x, c), both[1].log_prob(x, c[:, None]))
    assert both[0].sample((3,), c).shape == (3, 6, *event)
    assert both[0].sample((3,), torch.tensor(0.5)).shape == (3, *event)


# --- what people hold numbers in ------------------------------------------------------------------

HELD: dict[str, Callable[[np.ndarray[Any, Any]], Any]] = {
    "array": lambda a: a,
    "list": lambda a: a.tolist(),
    "tuple of arrays": tuple,
    "big-endian": lambda a: a.astype(">f8"),
    "read-only": lambda a: np.frombuffer(a.tobytes()).reshape(a.shape),
    "reversed": lambda a: a[::-1].copy()[::-1],
    "longdouble": lambda a: a.astype(np.longdouble),
    "tensor": torch.from_numpy,
}


@pytest.mark.parametrize("held", list(HELD))
def test_arrays_serve_everywhere(held: str) -> None:
    """Into every method, x and context, and float64 keeps its digits through the first layer."""
    flow = small(context=2, supports=["real", "real"])
    x, c = (
        1.7e9 + np.random.default_rng(1).normal(size=(30, 2)),
        np.random.default_rng(2).normal(size=(30, 2)),
    )
    hold, exact, given = HELD[held], torch.from_numpy(x), torch.from_numpy(c)
    flow.initialize(hold(x), hold(c))
    wanted = flow.log_prob(exact, given)
    assert wanted.std() > 0.1
    assert torch.equal(flow.log_prob(hold(x), hold(c)), wanted)
    assert torch.equal(flow.condition(hold(c)).log_prob(hold(x)), wanted)
    z, _ = flow.encode(hold(x), hold(c))
    assert torch.equal(z, flow.encode(exact, given)[0])
    back = flow.decode(hold(z.detach().double().numpy()), hold(c))[0]
    torch.testing.assert_close(back, exact, atol=1e-3, rtol=0)
    assert (
        flow.sample((2,), hold(c)).shape
        == flow.sample_and_log_prob((2,), hold(c))[0].shape
        == (2, 30, 2)
    )
    assert flow.base.log_prob(hold(np.zeros((3, 2)))).shape == (3,)


@pytest.mark.parametrize(
    "dtype",
    [
        "bool",
        "int8",
        "uint8",
        "int16",
        "uint16",
        "int32",
        "uint32",
        "int64",
        "uint64",
        "float16",
        "float32",
        "float64",
    ],
)
def test_arrays_of_every_number(dtype: str) -> None:
    flow = small()
    assert torch.equal(flow.log_prob(np.ones((3, 2), dtype)), flow.log_prob(torch.ones(3, 2)))


@pytest.mark.parametrize(
    "wrong",
    [
        "rows.csv",
        None,
        [["a", "b"]],
        np.array([[1.0, None]], dtype=object),
        np.ones((1, 2), complex),
        torch.ones(1, 2, dtype=torch.complex64),
        np.ma.MaskedArray([[1.0, 2.0]], mask=[[True, False]]),
        np.array([["2020-01-01", "2020-01-02"]], dtype="datetime64[D]"),
        [[1.0, 2.0], [3.0]],
        {"a": 1.0},
    ],
    ids=[
        "path",
        "none",
        "words",
        "objects",
        "complex",
        "complex tensor",
        "masked",
        "dates",
        "ragged",
        "dict",
    ],
)
def test_what_is_no_numbers_is_refused_in_one_line(wrong: Any) -> None:
    flow = small()
    for call in (
        flow.log_prob,
        flow.encode,
        flow.decode,
        flow.initialize,
        flow.condition().log_prob,
    ):
        with pytest.raises(DataError) as caught:
            call(wrong)
        assert "\n" not in str(caught.value)
    if wrong is not None:
        with pytest.raises(DataError, match="context"):
            small(context=2).sample((3,), wrong)


def test_data_frames_serve() -> None:
    pandas = pytest.importorskip("pandas")
    flow, x = small(), torch.randn(5, 2, dtype=torch.float64)
    assert torch.equal(
        flow.log_prob(pandas.DataFrame(x.numpy(), columns=["a", "b"])), flow.log_prob(x)
    )


def test_an_inverse_is_refused_as_its_transform_is() -> None:
    with pytest.raises(ShapeError):
        Inverse(layers.Conv1x1((3, 4, 4)))(torch.zeros(2, 3, 2, 2))


# --- models of earlier versions -------------------------------------------------------------------

STORED = sorted((Path(__file__).parent / "models").glob("*/expected.json"))


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.parent.name)
def test_models_saved_by_earlier_versions(path: Path) -> None:
    """They load, and give the log-densities that they gave."""
    stored = json.loads(path.read_text())
    flow = diffeo.load(path.parent)
    context = stored.get("context")
    with torch.no_grad():
        found = flow.log_prob(stored["x"], context)
    assert found.tolist() == pytest.approx(stored["log_prob"], abs=1e-5)
