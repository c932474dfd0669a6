"""A user's log density, right and wrong in every way: values, gradients, counts, and one clear line
for each mistake.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Gamma, Normal

from diffeo.core.errors import ConfigError, DiffeoError, InferenceError, ShapeError
from diffeo.inference import Space, Target

NAMED = {"mu": 2, "sd": "positive", "w": (3, "simplex")}


def normal(x: Tensor) -> Tensor:
    return -0.5 * x.square().sum(-1)


def model(p: dict[str, Tensor]) -> Tensor:
    return -0.5 * p["mu"].square().sum(-1) - p["sd"] + p["w"].log().sum(-1)


def one_model(p: dict[str, Tensor]) -> Tensor:
    """The same for a single point; for a batch it gives a scalar."""
    return -0.5 * p["mu"].square().sum() - p["sd"].sum() + p["w"].log().sum()


def points(rows: int = 6, size: int = 3, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(rows, size, dtype=dtype).requires_grad_()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


# --- what it computes -----------------------------------------------------------------------------


def test_value_is_density_plus_log_det() -> None:
    space = Space.of(NAMED)
    u = points(5, space.size, torch.float64)
    value, log_det = space.constrain(u)
    assert isinstance(value, dict)
    target = Target(model, space)
    found = target(u)
    torch.testing.assert_close(found, model(value) + log_det)
    assert torch.autograd.gradcheck(target, (u,))
    assert target.mode == "batch"


def test_a_density_on_a_half_line_keeps_its_mass() -> None:
    gamma = Gamma(torch.tensor(2.0).double(), torch.tensor(3.0).double())
    u = torch.linspace(-20, 6, 20_001, dtype=torch.float64)[:, None]
    target = Target(lambda x: gamma.log_prob(x), Space.of((), "positive"))
    assert target(u).logsumexp(0).item() + math.log(26 / 20_000) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("max_rows", [1, 4, 10, 11, None])
def test_rows_in_parts(max_rows: int | None) -> None:
    most = []

    def log_density(x: Tensor) -> Tensor:
        most.append(len(x))
        return normal(x)

    target = Target(log_density, Space.of(3), max_rows=max_rows)
    u = points(10)
    value = target(u)
    torch.testing.assert_close(value, normal(u))
    torch.testing.assert_close(torch.autograd.grad(value.sum(), u)[0], -u)
    assert most[1:] == {1: [1] * 10, 4: [4, 4, 2]}.get(max_rows or 0, [10])
    assert target.evaluations == target.gradients == 10


def test_counts() -> None:
    """Evaluations are points given to the density; gradients are counted when one is taken, not
    before.
    """
    target = Target(normal, Space.of(3))
    with torch.no_grad():
        target(points(4))
    value = target(points(5))
    assert (target.evaluations, target.gradients) == (9, 0)
    value.sum().backward()
    none = dict.fromkeys(("nan_rows", "outside_rows", "declared_rows", "nan_gradients"), 0)
    assert target.counts() == {"evaluations": 9, "gradients": 5, **none}


def test_no_rows() -> None:
    target = Target(normal, Space.of(3))
    assert target(torch.zeros(0, 3)).shape == (0,)
    assert target.evaluations == 0


def test_second_derivatives() -> None:
    target = Target(lambda x: -x.pow(4).sum(-1), Space.of(2))
    u = points(3, 2, torch.float64)
    assert torch.autograd.gradgradcheck(target, (u,))


@pytest.mark.parametrize("shape", [(3,), (2, 4), (1, 2, 3)])
def test_points_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"not \(B, 3\)"):
        Target(normal, Space.of(3))(torch.zeros(shape))


def test_wrong_arguments() -> None:
    with pytest.raises(ConfigError, match="function of a batch"):
        Target(3.0, Space.of(3))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="max_rows"):
        Target(normal, Space.of(3), max_rows=0)


# --- functions of single points -------------------------------------------------------------------

DATA = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
SINGLE: dict[str, Callable[[Tensor], Any]] = {
    "sum of all": lambda x: -0.5 * x.square().sum(),
    "matrix times vector": lambda x: -0.5 * (DATA @ x).square().sum() - x @ x,
    "entries": lambda x: -(x[0] ** 2) - (x[1] - x[0] ** 2) ** 2 - x[2] ** 2,
    "distributions": lambda x: Normal(x[0], x[1].exp()).log_prob(DATA).sum() - x.square().sum(),
    "an if": lambda x: -x.square().sum() if x[0] > 0 else -2 * x.square().sum(),
}


@pytest.mark.parametrize("name", list(SINGLE))
@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_functions_of_single_points(name: str, rows: int) -> None:
    """Also where the batch is as large as the event or the data, so that the shape alone would
    pass.
    """
    function = SINGLE[name]
    target = Target(function, Space.of(3))
    u = points(rows)
    value = target(u)
    torch.testing.assert_close(value, torch.stack([function(row) for row in u]))
    assert target.mode == ("rows" if name == "an if" else "vmap")
    expected = torch.autograd.grad(torch.stack([function(row) for row in u]).sum(), u)[0]
    torch.testing.assert_close(torch.autograd.grad(value.sum(), u)[0], expected)
    target.check(generator())


def test_a_single_function_of_names() -> None:
    space = Space.of(NAMED)
    u = points(5, space.size)
    torch.testing.assert_close(Target(one_model, space)(u), Target(model, space)(u))


# --- dtypes ---------------------------------------------------------------------------------------


def test_a_density_that_takes_float32_alone() -> None:
    """A product with a matrix of float32 refuses points of float64, which starts are computed
    in.
    """
    matrix = torch.randn(3, 3)
    target = Target(lambda x: -(x @ matrix).square().sum(1), Space.of(3))
    u = points()
    torch.testing.assert_close(target(u.double()).float(), target(u))
    assert target.given == {torch.float32: torch.float32, torch.float64: torch.float32}


def test_a_density_that_takes_float64_alone() -> None:
    """The usual one: data of NumPy's, points of the flow's."""
    data = DATA.double()
    target = Target(lambda x: -(x @ data.T).square().sum(-1), Space.of(3))
    u = points()
    value = target(u)
    assert target.mode == "batch"
    assert target.given == {torch.float32: torch.float64}
    assert value.dtype == torch.float64
    (grad,) = torch.autograd.grad(value.sum(), u)
    assert grad.dtype == torch.float32
    torch.testing.assert_close(grad, (-2 * u.double() @ data.T @ data).float())
    target.check(generator())


def test_half_precision_is_widened() -> None:
    assert Target(lambda x: normal(x).half(), Space.of(3))(points()).dtype == torch.float32


# --- NaN and infinities ---------------------------------------------------------------------------


def test_outside_is_minus_infinity_with_gradient_zero() -> None:
    """log of a negative number: NaN in the value, and 0 · ∞ in the gradient, of those rows
    alone.
    """
    target = Target(
        lambda x: torch.where(x[:, 0] > 0, x[:, 0].log(), -math.inf) - x.square().sum(-1),
        Space.of(2),
    )
    u = torch.tensor([[1.0, 1.0], [0.0, 2.0], [-1.0, 1.0]], requires_grad=True)
    value = target(u)
    assert value.tolist() == [-2.0, -math.inf, -math.inf]
    assert torch.autograd.grad(value[0], u)[0].tolist() == [[-1.0, -2.0], [0.0, 0.0], [0.0, 0.0]]
    assert (target.outside_rows, target.nan_rows, target.nan_gradients) == (2, 0, 0)


def test_nan_rows_are_minus_infinity_and_counted() -> None:
    target = Target(lambda x: x.log().sum(-1), Space.of(2))
    u = torch.tensor([[1.0, 1.0], [-1.0, 2.0], [0.0, 1.0]], requires_grad=True)
    value = target(u)
    assert value.tolist() == [0.0, -math.inf, -math.inf]
    assert torch.autograd.grad(value, u, torch.ones(3))[0].tolist() == [
        [1.0, 1.0],
        [0.0, 0.0],
        [0.0, 0.0],
    ]
    assert (target.nan_rows, target.outside_rows, target.gradients) == (1, 1, 3)


def test_no_gradient_of_the_log_det_where_the_density_is_zero() -> None:
    target = Target(
        lambda x: torch.where(x[:, 0] > 1, -x[:, 0], -math.inf), Space.of(1, "positive")
    )
    u = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    value = target(u)
    assert (
        torch.autograd.grad(value[:1].sum() + value[1:].nan_to_num(neginf=0.0).sum(), u)[0][1] == 0
    )


def test_points_that_are_not_finite() -> None:
    """A flow that has gone astray: the density is not even shown such a row."""
    seen = []

    def log_density(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return normal(x)

    target = Target(log_density, Space.of(2))
    u = torch.tensor([[1.0, 1.0], [math.nan, 2.0], [math.inf, 1.0]], requires_grad=True)
    value = target(u)
    assert value.tolist() == [-1.0, -math.inf, -math.inf]
    assert torch.autograd.grad(value[0], u)[0].tolist() == [[-1.0, -1.0], [0.0, 0.0], [0.0, 0.0]]
    assert target.nan_rows == 2
    assert all(x.isfinite().all() for x in seen)


def test_infinite_gradients_of_finite_values_are_zeroed_and_counted() -> None:
    target = Target(lambda x: -x.norm(dim=-1).sqrt(), Space.of(2))
    u = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    value = target(u)
    (grad,) = torch.autograd.grad(value.sum(), u)
    assert value[0] == 0
    assert grad[0].tolist() == [0.0, 0.0]
    assert (grad[1] < 0).all()
    assert target.nan_gradients == 1


@given(
    st.lists(st.sampled_from([0.5, -1.0, 0.0, math.nan, -math.inf, 1e30]), min_size=1, max_size=12),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_any_mixture_of_rows(rows: list[float], whole: bool) -> None:
    """Each row as if it were alone; every gradient finite; every row in exactly one count."""
    target = Target(lambda x: x[:, 0].log() - x[:, 0], Space.of(1), max_rows=None if whole else 3)
    u = torch.tensor(rows, dtype=torch.float64)[:, None].requires_grad_()
    value = target(u)
    for x, v in zip(rows, value.tolist(), strict=True):
        assert v == (pytest.approx(math.log(x) - x) if 0 < x < math.inf else -math.inf)
    (grad,) = torch.autograd.grad(value, u, torch.ones_like(value))
    good = [0 < x < math.inf for x in rows]
    torch.testing.assert_close(
        grad[:, 0],
        torch.tensor([1 / x - 1 if g else 0.0 for x, g in zip(rows, good, strict=True)]).double(),
    )
    assert target.nan_rows + target.outside_rows + sum(good) == len(rows) == target.evaluations
    assert target.outside_rows == rows.count(0.0)


def test_plus_infinity_is_an_error_that_names_the_point() -> None:
    target = Target(
        lambda p: (
            (1 / p["a"].clamp_min(0))[:, 0] * 0 + torch.where(p["a"][:, 1] > 2, math.inf, 0.0)
        ),
        Space.of({"a": 2}),
    )
    with pytest.raises(InferenceError, match=r"\+inf at a = \[3, 2.5\]"):
        target(torch.tensor([[1.0, 1.0], [3.0, 2.5], [4.0, 4.0]]))


# --- mistakes -------------------------------------------------------------------------------------


def raises(x: Tensor) -> Tensor:
    raise ZeroDivisionError("division\nby zero")


class Counter:
    """A density that gives another value each time."""

    calls = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        return normal(x) + self.calls


MISTAKES: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "per entry": (
        lambda x: -x.square(),
        r"shape \(4, 3\) for 4 points.*, and \(3,\) for a single one; .*\.sum\(-1\)",
    ),
    "a column": (lambda x: normal(x)[:, None], r"shape \(4, 1\) for 4 points"),
    "fixed shape": (lambda x: torch.zeros(9), r"shape \(9,\)"),
    "nothing": (lambda x: None, "returned NoneType; return a tensor"),
    "integers": (lambda x: x.sum(-1).long(), "returned torch.int64; return floating-point"),
    "truth": (lambda x: x.sum(-1) > 0, "returned torch.bool"),
    "detached": (lambda x: normal(x).detach(), "carries no gradient"),
    "constant": (lambda x: torch.zeros(len(x)), "carries no gradient.*if it is constant"),
    "numpy": (lambda x: np.zeros(len(x)), "carries no gradient"),
    "into numpy": (lambda x: -(x.numpy() ** 2).sum(-1), "carries no gradient"),
    "a number": (lambda x: 1.5, "carries no gradient"),
    "item": (lambda x: -(x[0].item() ** 2), "carries no gradient"),
    "raises": (
        raises,
        r"raised ZeroDivisionError: division by zero; the first of its points is x = \[",
    ),
    "sampling": (Counter(), "differs from one evaluation to the next"),
    "batch mean": (lambda x: normal(x - x.mean(0)), "depends on the other points of its batch"),
    "batch share": (lambda x: normal(x).log_softmax(0), "depends on the other points of its batch"),
    "nan": (lambda x: normal(x) * math.nan, "NaN or −inf at all 8 points tried near 0"),
    "nowhere": (lambda x: normal(x) - math.inf, "NaN or −inf at all 8 points.*first being x = "),
    "plus infinity": (lambda x: normal(x) + math.inf, r"\+inf at x = \["),
    "gradient nan": (
        lambda x: normal(x) - (0 * x).sum(-1).sqrt(),
        "gradient of the log density is NaN or infinite at all",
    ),
}


@pytest.mark.parametrize("name", list(MISTAKES))
def test_check_finds_mistakes(name: str) -> None:
    """One line, before any training."""
    function, words = MISTAKES[name]
    with pytest.raises(InferenceError, match=words) as caught:
        Target(function, Space.of(3)).check(generator())
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, DiffeoError)


def test_check_passes_what_is_right() -> None:
    target = Target(model, Space.of(NAMED))
    assert target.check(generator()) is None  # type: ignore[func-returns-value]
    assert target.evaluations > 0
    again = Target(model, Space.of(NAMED))
    again.check(generator(), points=1, dtype=torch.float64)
    assert Target(normal, Space.of(3)).check() is None  # type: ignore[func-returns-value]


def test_check_is_reproducible_and_leaves_the_global_generator() -> None:
    seen: list[Tensor] = []

    def log_density(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return normal(x)

    state = torch.get_rng_state()
    Target(log_density, Space.of(3)).check(generator())
    first, seen[:] = list(seen), []
    Target(log_density, Space.of(3)).check(generator())
    assert all(torch.equal(a, b) for a, b in zip(first, seen, strict=True))
    assert torch.equal(state, torch.get_rng_state())


def test_a_density_that_is_minus_infinity_at_some_points_passes_the_check() -> None:
    target = Target(lambda x: torch.where(x[:, 0] > 0, normal(x), -math.inf), Space.of(3))
    target.check(generator())
    assert target.outside_rows > 0


def test_a_gradient_that_does_not_come_from_the_point() -> None:
    """It requires grad, by a parameter of its own, and does not depend on the point: only `check`
    can tell.
    """
    weight = torch.ones((), requires_grad=True)
    with pytest.raises(InferenceError, match="carries no gradient"):
        Target(lambda x: weight * torch.ones(len(x)), Space.of(3, "positive")).check(generator())


def test_a_backward_that_raises() -> None:
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return normal(x)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            raise RuntimeError("no derivative\nhere")

    with pytest.raises(
        InferenceError, match="gradient of the log density raised RuntimeError: no derivative here"
    ):
        Target(lambda x: Broken.apply(x), Space.of(3)).check(generator())  # type: ignore[no-untyped-call]


def test_values_without_gradients_are_fine_where_none_is_needed() -> None:
    u = points()
    for function in (
        lambda x: np.full(len(x), -1.0),
        lambda x: -torch.ones(len(x)),
        lambda x: -(x.numpy() ** 2).sum(-1),
    ):
        target = Target(function, Space.of(3))
        with torch.no_grad():
            assert target(u).shape == (6,)
        assert target(u.detach()).shape == (6,)
        with pytest.raises(InferenceError, match="carries no gradient"):
            target(u)


def test_the_cause_is_kept() -> None:
    with pytest.raises(InferenceError) as caught:
        Target(raises, Space.of(3))(points())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_exception_in_the_middle_of_a_run_shows_the_point() -> None:
    def log_density(p: dict[str, Tensor]) -> Tensor:
        if (p["sd"] > 100).any():
            raise ValueError("sd is too large")
        return model(p)

    target = Target(log_density, Space.of(NAMED))
    target(points(4, 5) * 0.1)
    words = (
        r"raised ValueError: sd is too large; the first of its points is mu = \[1, 1\], sd ="
        r" 148.41\d*, w = \["
    )
    with pytest.raises(InferenceError, match=words) as caught:
        target(torch.tensor([[1.0, 1.0, 5.0, 0.0, 0.0], [0.0] * 5]))
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_shape_that_changes_in_the_middle_of_a_run() -> None:
    target = Target(lambda x: normal(x)[:5], Space.of(3))
    target(points(5))
    with pytest.raises(InferenceError, match=r"shape \(5,\) for 6 points"):
        target(points(6))


def test_interrupts_pass() -> None:
    def log_density(x: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Target(log_density, Space.of(3))(points())


def test_long_events_are_cut_short_in_messages() -> None:
    with pytest.raises(InferenceError, match="…") as caught:
        Target(lambda x: normal(x) + math.inf, Space.of(5000))(torch.zeros(2, 5000))
    assert len(str(caught.value)) < 300
