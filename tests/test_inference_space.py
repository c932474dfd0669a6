"""Supports and changes of variables: values inside, log-dets right, nothing infinite, errors that
name the parameter.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import (
    Beta,
    Dirichlet,
    Distribution,
    Gamma,
    LKJCholesky,
    Normal,
    VonMises,
    Wishart,
    biject_to,
    constraints,
)

from diffeo.core.errors import ConfigError, DataError, ShapeError
from diffeo.inference import Parameter, Space, ordered
from diffeo.inference.target.space import Value
from diffeo.supports import KINDS, Event, Scalar

SPACES: dict[str, tuple[Any, Any]] = {
    "real": (3, None),
    "scalar": ((), "positive"),
    "positive": (3, constraints.positive),
    "greater_than": (2, constraints.greater_than(5.0)),
    "less_than": (2, constraints.less_than(-2.0)),
    "unit_interval": (3, constraints.unit_interval),
    "interval": ((2, 2), constraints.interval(-3.0, 7.0)),
    "interval/tensors": (
        3,
        constraints.interval(torch.tensor([0.0, -1.0, 5.0]), torch.tensor([1.0, 3.0, 5.5])),
    ),
    "entries": (
        5,
        ["real", "positive", "interval:0:1", constraints.less_than(4.0), "greater_than:-1"],
    ),
    "circular": (3, "circular:0:360"),
    "circular/cut": ((), "circular:-1:1:0.5"),
    "circular/entries": (3, ["circular:0:6.283185307179586", "positive", "circular:-3:3"]),
    "simplex": (4, constraints.simplex),
    "simplex/pair": (2, "simplex"),
    "simplex/many": ((2, 3), "simplex"),
    "ordered": (4, ordered),
    "ordered/many": ((2, 3), "ordered"),
    "corr_cholesky": ((4, 4), constraints.corr_cholesky),
    "corr_cholesky/many": ((2, 3, 3), "corr_cholesky"),
    "lower_cholesky": ((3, 3), constraints.lower_cholesky),
    "positive_definite": ((3, 3), constraints.positive_definite),
    "names": (
        {
            "mu": 2,
            "sd": "positive",
            "w": (3, "simplex"),
            "L": ((2, 2), "corr_cholesky"),
            "c": ((2,), ordered),
        },
        None,
    ),
}
every = pytest.mark.parametrize("name", list(SPACES))
POSITIVE_DEFINITE = "positive_definite"


def space_of(name: str) -> Space:
    return Space.of(*SPACES[name])


def points(
    space: Space, rows: int = 50, spread: float = 2.0, dtype: torch.dtype = torch.float64
) -> Tensor:
    return (spread * torch.randn(rows, space.size, dtype=torch.float64)).to(dtype)


def named(space: Space, value: Value) -> dict[str, Tensor]:
    return value if isinstance(value, dict) else {"x": value}


def free(space: Space, value: Value) -> Tensor:
    """The entries that densities are with respect to, (B, D)."""
    parts = []
    for name, x in named(space, value).items():
        support = space.describe()["parameters"][name]["support"]
        if support == "simplex":
            x = x[..., :-1]
        elif support in ("corr_cholesky", "lower_cholesky", "positive_definite"):
            rows, columns = torch.tril_indices(
                x.shape[-1], x.shape[-1], -1 if support == "corr_cholesky" else 0
            )
            x = x[..., rows, columns]
        parts.append(x.reshape(len(x), -1))
    return torch.cat(parts, 1)


# --- the change of variables ----------------------------------------------------------------------


@every
def test_shapes_and_dtypes(name: str) -> None:
    space = space_of(name)
    for dtype in (torch.float32, torch.float64):
        value, log_det = space.constrain(points(space, 7, dtype=dtype))
        assert log_det.shape == (7,)
        assert log_det.dtype == dtype
        assert isinstance(value, dict) == space.structured
        for parameter, x in named(space, value).items():
            assert x.shape == (7, *space.parameters[parameter].shape)
            assert x.dtype == dtype
        u = space.unconstrain(value)
        assert u.shape == (7, space.size)
        assert u.dtype == dtype
    assert space.constrain(points(space, 0))[1].shape == (0,)


@every
@pytest.mark.parametrize("spread", [0.0, 1.0, 4.0])
def test_log_det_is_autograds(name: str, spread: float) -> None:
    """log|det| of the free entries by the coordinates, float64."""
    space = space_of(name)
    u = points(space, 5, spread)
    _, log_det = space.constrain(u)
    for i in range(len(u)):
        jacobian = torch.autograd.functional.jacobian(
            lambda v: free(space, space.constrain(v[None])[0])[0], u[i]
        )
        assert torch.linalg.slogdet(jacobian)[1].item() == pytest.approx(
            log_det[i].item(), abs=1e-8, rel=1e-8
        )


@every
def test_round_trip(name: str) -> None:
    space = space_of(name)
    # the far end of a circle is near 1 in Φ(u), which takes digits
    u = points(space, 200, 1.0 if space.circles else 2.0)
    value, _ = space.constrain(u)
    torch.testing.assert_close(space.unconstrain(value), u, atol=1e-6, rtol=1e-6)
    again, _ = space.constrain(space.unconstrain(value))
    for parameter, x in named(space, value).items():
        torch.testing.assert_close(named(space, again)[parameter], x, atol=1e-9, rtol=1e-9)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_out_everything_is_finite_and_inside(name: str, dtype: torch.dtype) -> None:
    """|u| up to 30: value, log-det and their gradients finite, no value on the edge of its
    support.
    """
    space = space_of(name)
    corners = torch.tensor([-30.0, -20.0, -1e-6, 0.0, 1e-6, 16.7, 20.0, 30.0], dtype=dtype)
    u = corners[torch.randint(len(corners), (300, space.size))]
    u = torch.cat([u, corners[:, None].expand(-1, space.size)]).requires_grad_()
    value, log_det = space.constrain(u)
    assert log_det.isfinite().all()
    assert torch.autograd.grad(log_det.sum() + u.sum(), u, retain_graph=True)[0].isfinite().all()
    for x in named(space, value).values():
        assert x.isfinite().all()
        for weights in (torch.ones_like(x), torch.rand_like(x)):
            assert (
                torch.autograd.grad((weights * x).sum(), u, retain_graph=True)[0].isfinite().all()
            )
    # squares of 1e13 and 1e-13 are singular to rounding
    assert space.contains(value).all() or name == POSITIVE_DEFINITE
    strictly_inside(space, value)


def strictly_inside(space: Space, value: Value) -> None:
    """What a density divides by or takes the logarithm of is never 0."""
    for name, x in named(space, value).items():
        support = space.describe()["parameters"][name]["support"]
        for entry, word in enumerate(support if isinstance(support, list) else [support]):
            part = x.flatten(1)[:, entry] if isinstance(support, list) else x
            kind, *bounds = word.split(":")
            if kind in ("positive", "simplex"):
                assert (part > 0).all()
                assert (1 / part).isfinite().all()
            if kind == "circular":
                assert ((part >= float(bounds[0])) & (part < float(bounds[1]))).all()
            if kind in ("interval", "greater_than"):
                assert (part > float(bounds[0])).all()
            if kind in ("interval", "less_than"):
                assert (part < float(bounds[-1])).all()
            if kind in ("corr_cholesky", "lower_cholesky"):
                assert (part.diagonal(dim1=-2, dim2=-1) > 0).all()
                assert (part.triu(1) == 0).all()


@every
def test_beyond_float32_is_finite_too(name: str) -> None:
    """A flow that has gone astray: ±1e4."""
    space = space_of(name)
    u = (1e4 * torch.randn(100, space.size)).requires_grad_()
    value, log_det = space.constrain(u)
    assert log_det.isfinite().all()
    assert all(x.isfinite().all() for x in named(space, value).values())
    strictly_inside(space, value)
    total = log_det.sum() + sum(x.clamp(-1e9, 1e9).sum() for x in named(space, value).values())
    assert torch.autograd.grad(total, u)[0].isfinite().all()


@every
def test_second_derivatives(name: str) -> None:
    """At 0, where searches begin, and beside it."""
    space = space_of(name)
    for u in (torch.zeros(1, space.size).double(), points(space, 1, 0.5)):
        u.requires_grad_()
        assert torch.autograd.gradcheck(lambda v: outputs(space, v), (u,))
        assert torch.autograd.gradgradcheck(lambda v: outputs(space, v), (u,), atol=1e-4)


def outputs(space: Space, u: Tensor) -> Tensor:
    value, log_det = space.constrain(u)
    return torch.cat([log_det + u.sum(1), *(x.flatten() for x in named(space, value).values())])


@every
def test_rows_are_independent(name: str) -> None:
    space = space_of(name)
    u = points(space, 6)
    value, log_det = space.constrain(u)
    one, one_log_det = space.constrain(u[3:4])
    torch.testing.assert_close(one_log_det[0], log_det[3])
    for parameter, x in named(space, value).items():
        torch.testing.assert_close(named(space, one)[parameter][0], x[3])


@given(
    st.floats(-1e3, 1e3),
    st.floats(1e-2, 1e3),
    st.lists(st.floats(-30, 30), min_size=1, max_size=20),
)
@settings(max_examples=60, deadline=None)
def test_any_interval(low: float, width: float, at: list[float]) -> None:
    space = Space.of((), f"interval:{low!r}:{low + width!r}")
    u = torch.tensor(at, dtype=torch.float64)[:, None].requires_grad_()
    x, log_det = space.constrain(u)
    assert isinstance(x, Tensor)
    assert ((x > low) & (x < low + width)).all()
    (slope,) = torch.autograd.grad(x.sum(), u)
    inner = u.abs() < 15  # beyond, rounding of the value hides its slope
    torch.testing.assert_close(slope[inner].log(), log_det[inner[:, 0]], atol=1e-6, rtol=1e-6)
    single, _ = space.constrain(u.float())
    assert isinstance(single, Tensor)
    assert space.contains(single).all()


@given(st.integers(2, 6), st.data())
@settings(max_examples=40, deadline=None)
def test_any_simplex(size: int, data: st.DataObject) -> None:
    u = torch.tensor(
        [data.draw(st.lists(st.floats(-30, 30), min_size=size - 1, max_size=size - 1))],
        dtype=torch.float64,
    )
    space = Space.of(size, "simplex")
    x, log_det = space.constrain(u)
    assert isinstance(x, Tensor)
    assert constraints.simplex.check(x).all()
    assert log_det.isfinite().all()
    torch.testing.assert_close(space.unconstrain(x), u, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize(
    "name", ["positive", "greater_than", "less_than", "unit_interval", "interval", "corr_cholesky"]
)
def test_like_pytorchs_own(name: str) -> None:
    """The same bijection as `biject_to`, where that is sound."""
    shape, constraint = SPACES[name]
    space = Space.of(shape, constraint)
    u = points(space, 20, 1.0)
    transform = biject_to(constraint)
    theirs = transform(u if name == "corr_cholesky" else u.reshape(-1, *space.event_shape))
    log_det = transform.log_abs_det_jacobian(
        u.reshape(-1, *(space.event_shape if name != "corr_cholesky" else (6,))), theirs
    )
    value, ours = space.constrain(u)
    torch.testing.assert_close(value, theirs)
    torch.testing.assert_close(ours, log_det.reshape(20, -1).sum(1))


def test_the_slope_of_an_interval_at_its_middle() -> None:
    """Where both halves of the formula meet, and where every search begins."""
    u = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    x, _ = Space.of(1, "interval:0:4").constrain(u)
    assert torch.autograd.grad(x.sum(), u)[0].item() == 1.0


# --- the reference measure: PyTorch's own densities still integrate to one ------------------------

ORDER = "the greater of two normals, and the lesser"
MASS: dict[str, tuple[Any, Any, Any]] = {
    "Gamma": ((), "positive", Gamma(2.0, 3.0)),
    "VonMises": ((), "circular:0:6.283185307179586", VonMises(0.1, 20.0)),
    "VonMises/cut": ((), "circular:0:6.283185307179586:3", VonMises(0.1, 20.0)),
    "Beta": ((), "interval:0:1", Beta(2.0, 3.5)),
    "Dirichlet": (3, "simplex", Dirichlet(torch.tensor([1.5, 2.0, 3.0]))),
    "LKJCholesky/2": ((2, 2), "corr_cholesky", LKJCholesky(2, 1.5)),
    "LKJCholesky/3": ((3, 3), "corr_cholesky", LKJCholesky(3, 1.5)),
    "Wishart": ((2, 2), "positive_definite", Wishart(torch.tensor(5.0), torch.eye(2))),
    ORDER: (2, "ordered", None),
}


@pytest.mark.parametrize("name", list(MASS))
def test_densities_keep_their_mass(name: str) -> None:
    """∫ p(x(u)) |det ∂x/∂u| du = 1 by a grid over u: which entries the log-det is of, and its
    constants.
    """
    shape, support, distribution = MASS[name]
    space = Space.of(shape, support)
    side = {1: 4001, 2: 301, 3: 81}[space.size]
    axis = torch.linspace(-14, 14, side, dtype=torch.float64)
    u = torch.cartesian_prod(*[axis] * space.size).reshape(-1, space.size)
    x, log_det = space.constrain(u)
    assert isinstance(x, Tensor)
    log_p = log_density(name, distribution, x) + log_det
    log_mass = log_p.logsumexp(0).item() + space.size * math.log(28 / (side - 1))
    assert log_mass == pytest.approx(0.0, abs=2e-3)


def log_density(name: str, distribution: Distribution | None, x: Tensor) -> Tensor:
    if distribution is None:
        return math.log(2) + Normal(0.0, 1.0).log_prob(x).sum(-1)
    # far out on the grid matrices are singular to rounding, and its density has none there
    if name == "Wishart":
        lower = torch.linalg.cholesky_ex(x)[0].diagonal(dim1=-2, dim2=-1).clamp_min(1e-300)
        nu = 5.0
        norm = nu * math.log(2) + torch.special.multigammaln(torch.tensor(nu / 2), 2).item()
        return (nu - 3) * lower.log().sum(-1) - x.diagonal(dim1=-2, dim2=-1).sum(-1) / 2 - norm
    distribution._validate_args = False
    log_p: Tensor = distribution.log_prob(x)
    return log_p


def test_the_wishart_above_is_pytorchs() -> None:
    x = torch.tensor([[[2.0, 0.3], [0.3, 1.0]]], dtype=torch.float64)
    ours = log_density("Wishart", MASS["Wishart"][2], x)
    torch.testing.assert_close(
        ours, Wishart(torch.tensor(5.0).double(), torch.eye(2).double()).log_prob(x)
    )


# --- the grammar ----------------------------------------------------------------------------------


def test_every_kind_of_parameter_has_a_space() -> None:
    described = json.dumps([space_of(name).describe() for name in SPACES])
    known = [word for word, kind in KINDS.items() if issubclass(kind, (Scalar, Event))]
    assert [word for word in known if f'"{word}' not in described] == []


SAME = [
    (constraints.real, "real"),
    (constraints.real_vector, "real"),
    (constraints.positive, "positive"),
    (constraints.nonnegative, "positive"),
    (constraints.greater_than(0), "positive"),
    (constraints.greater_than_eq(2.5), "greater_than:2.5"),
    (constraints.less_than(1.0), "less_than:1.0"),
    (constraints.unit_interval, "interval:0.0:1.0"),
    (constraints.half_open_interval(0, 2), "interval:0.0:2.0"),
    (constraints.independent(constraints.interval(0.0, 3.0), 1), "interval:0.0:3.0"),
    ("interval:0:1", "interval:0.0:1.0"),
    ("circular:0:1", "circular:0.0:1.0"),
    ("circular:0:1:0", "circular:0.0:1.0"),
    (
        ["circular:0:1:0.5", "real", "circular:0:1"],
        ["circular:0.0:1.0:0.5", "real", "circular:0.0:1.0"],
    ),
    (["positive"] * 3, "positive"),
    (["real", "positive", constraints.interval(0, 2)], ["real", "positive", "interval:0.0:2.0"]),
    (
        constraints.greater_than(torch.tensor([0.0, 1.0, 2.0])),
        ["positive", "greater_than:1.0", "greater_than:2.0"],
    ),
    (constraints.simplex, "simplex"),
    (ordered, "ordered"),
]


@pytest.mark.parametrize(("support", "words"), SAME, ids=lambda v: str(v)[:40])
def test_constraints_and_words_mean_the_same(support: Any, words: Any) -> None:
    space = Space.of(3, support)
    assert space.describe() == {
        "structured": False,
        "parameters": {"x": {"shape": [3], "support": words}},
    }
    u = points(space)
    assert torch.equal(space.constrain(u)[0], Space.of(3, words).constrain(u)[0])  # type: ignore[arg-type]


@every
def test_description_is_json_and_enough(name: str) -> None:
    space = space_of(name)
    again = Space.from_description(json.loads(json.dumps(space.describe())))
    assert again.describe() == space.describe()
    assert again.names == space.names
    u = points(space, 4)
    for (left, x), (right, y) in zip(
        *(named(s, s.constrain(u)[0]).items() for s in (space, again)), strict=True
    ):
        assert left == right
        assert torch.equal(x, y)


def test_short_forms_of_parameters() -> None:
    space = Space.of(
        {
            "a": 2,
            "b": (2, 3),
            "c": (2, "positive"),
            "d": ((2,), "positive"),
            "e": constraints.positive,
            "f": Parameter(3, "simplex"),
        }
    )
    shapes = {name: parameter.shape for name, parameter in space.parameters.items()}
    assert shapes == {"a": (2,), "b": (2, 3), "c": (2,), "d": (2,), "e": (), "f": (3,)}
    assert space.size == 2 + 6 + 2 + 2 + 1 + 2
    assert space.event_shape is None
    assert Space.of(torch.Size([2, 3])).event_shape == (2, 3)


BAD: dict[str, tuple[Any, Any, str]] = {
    "unknown word": (3, "angle", "x: cannot read the support 'angle'"),
    "bounds missing": (3, "interval", "cannot read"),
    "not a number": (3, "interval:a:b", "cannot read"),
    "nan": (3, "greater_than:nan", "cannot read"),
    "real with a bound": (3, "real:1", "cannot read"),
    "bounds reversed": ({"p": (3, "interval:1:0")}, None, "p: a lower bound must lie below"),
    "no room": ((), constraints.interval(2.0, 2.0), "x: a lower bound"),
    "infinite": ((), constraints.greater_than(math.inf), "x: a lower bound"),
    "discrete": ({"k": constraints.nonnegative_integer}, None, "k: no way to the support"),
    "boolean": ({"k": constraints.boolean}, None, "k: no way to the support"),
    "dependent": ({"k": constraints.dependent}, None, "k: no way to the support"),
    "cat": (
        (3,),
        constraints.cat([constraints.real, constraints.positive], lengths=[1, 2]),
        "x: no way",
    ),
    "a class": ((), constraints.interval, "x: <class .* is no support"),
    "too few": (3, ["real", "positive"], "x: 2 supports for 3 entries"),
    "joint entry": (
        3,
        ["real", "simplex", "real"],
        "x, entry 1: cannot read the support 'simplex' .for a whole parameter",
    ),
    "tensor entry": (
        2,
        ["real", constraints.greater_than(torch.zeros(2))],
        "bounds of shape .2,. do not fit",
    ),
    "tensor shape": (
        {"a": (3, constraints.greater_than(torch.zeros(2)))},
        None,
        "a: bounds of shape .2,. do not fit",
    ),
    "scalar simplex": ({"w": "simplex"}, None, "w: simplex is for a shape"),
    "empty simplex": ({"w": (0, "simplex")}, None, "w: simplex is for a shape"),
    "not square": ({"L": ((2, 3), "corr_cholesky")}, None, "L: corr_cholesky is for a shape"),
    "vector matrix": (
        {"L": (3, constraints.lower_cholesky)},
        None,
        "L: lower_cholesky is for a shape",
    ),
    "support beside names": ({"a": 2}, "positive", "beside its shape"),
    "nothing": ({}, None, "nothing to infer"),
    "no coordinate": ({"w": (1, "simplex")}, None, "nothing to infer"),
    "negative": ({"a": -1}, None, "a: give a shape"),
    "not a shape": ({"a": 2.5}, None, "a: give a shape"),
    "not a shape at all": (2.5, None, "x: give a shape"),
    "no name": ({3: 2}, None, "name must be text"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_what_cannot_be(name: str) -> None:
    shape, support, words = BAD[name]
    with pytest.raises(ConfigError, match=words) as caught:
        Space.of(shape, support)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "junk",
    [
        {},
        {"parameters": 3},
        {"parameters": {"x": {}}},
        {"parameters": {"x": 2}, "structured": False},
    ],
)
def test_what_is_no_description(junk: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="not the description"):
        Space.from_description(junk)


# --- names, tables, values from outside -----------------------------------------------------------


def test_names_count_from_zero_and_leave_constants_out() -> None:
    space = Space.of(
        {"mu": (), "theta": 2, "L": ((3, 3), "corr_cholesky"), "S": ((2, 2), "positive_definite")}
    )
    expected = [
        "mu",
        "theta[0]",
        "theta[1]",
        "L[1,0]",
        "L[1,1]",
        "L[2,0]",
        "L[2,1]",
        "L[2,2]",
        "S[0,0]",
        "S[1,0]",
        "S[1,1]",
    ]
    assert space.names == tuple(expected)
    assert Space.of(()).names == ("x",)
    assert Space.of((2, 2)).names == ("x[0,0]", "x[0,1]", "x[1,0]", "x[1,1]")
    assert Space.of((2, 2, 2), "lower_cholesky").names[3] == "x[1,0,0]"
    fixed = Space.of({"a": 1, "L": ((1, 1), "corr_cholesky"), "w": (1, "simplex")})
    assert fixed.names == ("a[0]",)
    assert fixed.flatten(fixed.constrain(torch.zeros(2, 1))[0]).shape == (2, 1)


def test_flatten_puts_values_under_their_names() -> None:
    space = space_of("names")
    value, _ = space.constrain(points(space, 5))
    assert isinstance(value, dict)
    table = space.flatten(value)
    assert table.shape == (5, len(space.names))
    column = dict(zip(space.names, table.T, strict=True))
    assert torch.equal(column["sd"], value["sd"])
    assert torch.equal(column["w[2]"], value["w"][:, 2])
    assert torch.equal(column["L[1,0]"], value["L"][:, 1, 0])
    assert not any((values == values[0]).all() for values in column.values())
    shuffled = {name: value[name] for name in reversed(value)}
    assert torch.equal(space.flatten(shuffled), table)
    assert torch.equal(space.unconstrain(shuffled), space.unconstrain(value))


OUTSIDE: dict[str, tuple[Any, Any, Any, str]] = {
    "negative": (
        2,
        "positive",
        [[1.0, 1.0], [1.0, -2.0]],
        r"x\[1\] in row 1 is -2.0, outside its support positive",
    ),
    "edge": (1, "positive", [[0.0]], r"x\[0\] in row 0 is 0.0"),
    "nan": (1, None, [[math.nan]], r"x\[0\] in row 0 is nan, outside its support real"),
    "infinite": (1, "positive", [[math.inf]], "is inf"),
    "beyond": (
        (),
        "interval:0:1",
        [0.5, 1.0],
        r"x in row 1 is 1.0, outside its support interval:0.0:1.0",
    ),
    "entry": (
        2,
        ["real", "less_than:3"],
        [[9.0, 4.0]],
        r"x\[1\] in row 0 is 4.0, outside its support less_than:3.0",
    ),
    "sum": (
        2,
        "simplex",
        [[0.5, 0.5], [0.5, 0.6]],
        r"x in row 1 is \[0.5, 0.6.*outside its support simplex",
    ),
    "zero share": (2, "simplex", [[0.0, 1.0]], "outside its support simplex"),
    "which simplex": (
        (2, 2),
        "simplex",
        [[[0.5, 0.5], [1.5, -0.5]]],
        r"x\[1\] in row 0 is \[1.5, -0.5\]",
    ),
    "falling": (3, "ordered", [[1.0, 2.0, 1.5]], "outside its support ordered"),
    "nan in order": (1, "ordered", [[math.nan]], "outside its support ordered"),
    "long row": (
        (2, 2),
        "corr_cholesky",
        [[[1.0, 0.0], [0.8, 0.8]]],
        "outside its support corr_cholesky",
    ),
    "upper": (
        (2, 2),
        "corr_cholesky",
        [[[0.8, 0.6], [0.6, 0.8]]],
        "outside its support corr_cholesky",
    ),
    "diagonal": (
        (2, 2),
        "lower_cholesky",
        [[[1.0, 0.0], [0.8, -0.8]]],
        "outside its support lower_cholesky",
    ),
    "indefinite": (
        (2, 2),
        "positive_definite",
        [[[1.0, 2.0], [2.0, 1.0]]],
        "outside its support positive_definite",
    ),
    "asymmetric": (
        (2, 2),
        "positive_definite",
        [[[1.0, 0.2], [0.1, 1.0]]],
        "outside its support positive_definite",
    ),
    "not finite": (
        (2, 2),
        "positive_definite",
        [[[math.nan, 0.2], [0.1, 1.0]]],
        "outside its support positive_definite",
    ),
}


@pytest.mark.parametrize("name", list(OUTSIDE))
def test_values_outside_are_named(name: str) -> None:
    shape, support, value, words = OUTSIDE[name]
    space = Space.of(shape, support)
    x = torch.tensor(value, dtype=torch.float64)
    assert not space.contains(x).all()
    with pytest.raises(DataError, match=words):
        space.unconstrain(x)


def test_contains_says_which_rows() -> None:
    space = Space.of({"a": (2, "positive"), "b": "interval:0:1"})
    value = {
        "a": torch.tensor([[1.0, 1.0], [1.0, -1.0], [2.0, 3.0], [1.0, 1.0]]),
        "b": torch.tensor([0.5, 0.5, 1.5, math.nan]),
    }
    assert space.contains(value).tolist() == [True, False, False, False]


@every
def test_densities_outside_are_zero_by_the_contract(name: str) -> None:
    """Each bijection is a `Transform`: `forward` undoes `inverse`, with the opposite log-det, and
    gives −inf for NaN rows.
    """
    space = space_of(name)
    u = points(space, 4, 1.0)
    value, log_det = space.constrain(u)
    total = torch.zeros(4, dtype=torch.float64)
    for parameter, x in named(space, value).items():
        bijection = space._bijections[parameter]
        part, there = bijection(x)
        total += there
        assert part.shape[1:] == bijection.forward_shape(bijection.shape)
        assert bijection.inverse_shape(bijection.latent) == bijection.shape
        assert (bijection(torch.full_like(x, math.nan))[1] == -math.inf).all()
        with pytest.raises(ShapeError):
            bijection.forward_shape((*bijection.shape, 99))
    torch.testing.assert_close(total, -log_det, atol=1e-7, rtol=1e-7)


def test_values_as_people_have_them() -> None:
    """Whole numbers, arrays, draws printed with six digits."""
    space = Space.of(2, "positive")
    torch.testing.assert_close(
        space.unconstrain(torch.tensor([[1, 2]])), torch.tensor([[0.0, math.log(2)]]).double()
    )
    array: Any = np.array([[1.0, 2.0]])
    assert space.unconstrain(array).dtype == torch.float64
    printed = torch.tensor([[0.333333, 0.333333, 0.333333]], dtype=torch.float64)
    assert space_of("simplex/many").size == 4
    torch.testing.assert_close(
        Space.of(3, "simplex").unconstrain(printed), torch.zeros(1, 2).double()
    )
    rows = torch.tensor([[[1.0, 0.0], [0.707107, 0.707107]]], dtype=torch.float64)
    assert Space.of((2, 2), "corr_cholesky").contains(rows).all()


def test_ties_of_rounding_are_inside_an_ordered_vector() -> None:
    x = torch.tensor([[1.0, 1.0]])
    assert ordered.check(x).all()
    assert Space.of(2, ordered).contains(x).all()
    assert Space.of(2, ordered).unconstrain(x).isfinite().all()
    assert not ordered.check(torch.tensor([[2.0, 1.0]])).any()


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "missing": ({"a": torch.zeros(2, 2)}, DataError, "'b' is missing"),
    "unknown": (
        {"a": torch.zeros(2, 2), "b": torch.ones(2), "c": torch.ones(2)},
        DataError,
        "'c' is unknown",
    ),
    "a tensor": (torch.zeros(2, 3), DataError, "a dict of a, b"),
    "shape": ({"a": torch.zeros(2, 3), "b": torch.ones(2)}, ShapeError, r"a has shape \(2, 3\)"),
    "rows": ({"a": torch.zeros(2, 2), "b": torch.ones(3)}, ShapeError, r"b has shape \(3,\)"),
    "no rows": ({"a": torch.zeros(2), "b": torch.tensor(1.0)}, ShapeError, "a has shape"),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_values_of_another_form(name: str) -> None:
    value, error, words = WRONG[name]
    space = Space.of({"a": 2, "b": "positive"})
    for function in (space.unconstrain, space.contains, space.flatten):
        with pytest.raises(error, match=words):
            function(value)


def test_a_dict_for_a_plain_space() -> None:
    with pytest.raises(DataError, match="values of this space are a tensor"):
        Space.of(2).unconstrain({"x": torch.zeros(1, 2)})


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 1)])
def test_points_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"not \(B, 3\)"):
        Space.of(3).constrain(torch.zeros(shape))
