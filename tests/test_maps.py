"""What the elementwise maps promise beyond the contract: bounds, boxes, knots, stable roots."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cases import MAPS
from diffeo.core.errors import ConfigError
from diffeo.maps import (
    Additive,
    Affine,
    CircularSpline,
    CubicSpline,
    ElementwiseMap,
    LinearSpline,
    QuadraticSpline,
    RQSpline,
)

Spline = RQSpline | LinearSpline | QuadraticSpline | CubicSpline
SPLINES: list[Spline] = [
    RQSpline(),
    RQSpline(ends="free"),
    RQSpline(bins=2),
    RQSpline(bins=30, low=0.0, high=1.0),
]
SPLINES += [LinearSpline(), LinearSpline(bins=2), LinearSpline(bins=30, low=0.0, high=1.0)]
SPLINES += [QuadraticSpline(), QuadraticSpline(bins=3), QuadraticSpline(bins=30, low=0.0, high=1.0)]
SPLINES += [CubicSpline(), CubicSpline(bins=2), CubicSpline(bins=30, low=0.0, high=1.0)]
every = pytest.mark.parametrize("name", list(MAPS))
pytestmark = pytest.mark.kernels


def params(
    map: ElementwiseMap,
    n: int,
    spread: float = 2.0,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return (spread * torch.randn(n, map.num_params, generator=g, dtype=torch.float64)).to(dtype)


@every
def test_zero_parameters_are_the_identity(name: str) -> None:
    map = MAPS[name]
    x = torch.linspace(-2.9, 2.9, 41, dtype=torch.float64)
    y, logdet = map.forward(x, torch.zeros(41, map.num_params, dtype=torch.float64))
    torch.testing.assert_close(y, x)
    assert logdet.abs().max() < 1e-12


@every
def test_strictly_increasing(name: str) -> None:
    """At every parameter tried, on the map's own domain."""
    map = MAPS[name]
    n, x = 200, torch.linspace(-2.999, 2.999, 501, dtype=torch.float64)
    theta = params(map, n, 3.0)
    y, logdet = map.forward(x.expand(n, -1), theta[:, None].expand(-1, 501, -1))
    steps = y.diff(dim=1)
    if isinstance(map, CircularSpline):
        steps = torch.remainder(steps, map.high - map.low)
    assert (steps > 0).all()
    assert logdet.isfinite().all()


@every
def test_extreme_parameters_stay_finite(name: str) -> None:
    """Parameters of ±1e4: value, log-det and gradients finite both ways."""
    map = MAPS[name]
    theta = params(map, 500, 1e4, torch.float32).requires_grad_()
    x = torch.randn(500).requires_grad_()
    for direction in (map.forward, map.inverse):
        y, logdet = direction(x, theta)
        assert y.isfinite().all()
        assert logdet.isfinite().all()
        grads = torch.autograd.grad(y.sum() + logdet.sum(), [x, theta], allow_unused=True)
        assert all(grad is None or grad.isfinite().all() for grad in grads)


@every
def test_any_leading_shape(name: str) -> None:
    map = MAPS[name]
    theta = params(map, 24)
    x = torch.linspace(-2, 2, 24, dtype=torch.float64)
    flat, flat_logdet = map.forward(x, theta)
    y, logdet = map.forward(x.view(2, 3, 4), theta.view(2, 3, 4, -1))
    assert torch.equal(y.flatten(), flat)
    assert torch.equal(logdet.flatten(), flat_logdet)
    assert map.forward(x[0], theta[0])[0].shape == ()


@every
def test_second_derivatives(name: str) -> None:
    """Backward is itself differentiable, and right: needed by score matching and Hamiltonian
    samplers.
    """
    map = MAPS[name]
    theta = params(map, 2, 1.0).requires_grad_()
    x = torch.linspace(-1.7, 1.9, 2, dtype=torch.float64).requires_grad_()
    for direction in (map.forward, map.inverse):
        assert torch.autograd.gradgradcheck(
            lambda a, b, f=direction: sum(f(a, b)), (x, theta), atol=1e-4
        )


def test_affine_scale_is_bounded_symmetric_and_one_at_zero() -> None:
    """nflows#49: scales above 1 are reachable; scale(0) = 1 with slope 1; both directions the same
    bound.
    """
    map = Affine(log_scale=2.0)
    a = torch.tensor([-1e6, -1.0, 0.0, 1.0, 1e6], dtype=torch.float64)
    logdet = map.forward(
        torch.ones(5, dtype=torch.float64), torch.stack([a, torch.zeros_like(a)], 1)
    )[1]
    assert logdet[2] == 0
    assert torch.equal(logdet.flip(0), -logdet)
    assert logdet[4] == pytest.approx(2.0)
    small = map.forward(torch.ones(1).double(), torch.tensor([[1e-6, 0.0]], dtype=torch.float64))[1]
    assert float(small) == pytest.approx(1e-6, rel=1e-6)


def test_additive_changes_no_volume() -> None:
    y, logdet = Additive().forward(torch.zeros(3), torch.ones(3, 1))
    assert torch.equal(y, torch.ones(3))
    assert torch.equal(logdet, torch.zeros(3))


@pytest.mark.parametrize("spline", SPLINES, ids=repr)
def test_spline_is_the_identity_outside_its_box(spline: Spline) -> None:
    span = spline.high - spline.low
    x = torch.tensor(
        [spline.low - 1e-3, spline.low - span, spline.high + 1e-3, 1e30], dtype=torch.float64
    )
    y, logdet = spline.forward(x, params(spline, 4))
    assert torch.equal(y, x)
    assert torch.equal(logdet, torch.zeros(4, dtype=torch.float64))


@pytest.mark.parametrize("spline", SPLINES, ids=repr)
def test_spline_meets_the_box_at_its_ends(spline: Spline) -> None:
    for end in (spline.low, spline.high):
        x = torch.full((50,), end, dtype=torch.float64)
        for direction in (spline.forward, spline.inverse):
            y, logdet = direction(x, params(spline, 50, 3.0))
            assert (y - x).abs().max() < 1e-14 * 20
            if (
                not isinstance(spline, LinearSpline)
                and getattr(spline, "ends", "linear") == "linear"
            ):
                # rounding of the last knot, times the curvature of a steep bin
                assert logdet.abs().max() < 1e-9


@pytest.mark.parametrize("spline", SPLINES, ids=repr)
def test_slope_is_bounded_inside_the_bins(spline: Spline) -> None:
    """Parameters as wild as they come: the slope stays within what the map promises, so float32 can
    invert.
    """
    n = 4000
    theta = params(spline, n, 30.0)
    x = torch.rand(n, dtype=torch.float64) * (spline.high - spline.low) + spline.low
    logdet = spline.forward(x, theta)[1]
    assert logdet.abs().max() < steepest(spline)
    # and parameters do reach far
    assert logdet.abs().max() > 0.5 * spline.log_slope or spline.bins < 4


def steepest(spline: Spline) -> float:
    """The bound on |log dy/dx|.

    Rational quadratics: a bin's mean slope is within a factor r = 1 + K (1 − min_bin) / min_bin of
    1, the derivatives at its knots within another exp(log_slope); the slope between them is
    measured to stay within the square of both.
    """
    if isinstance(spline, RQSpline):
        return (
            2 * math.log((1 - spline.min_bin) * spline.bins / spline.min_bin + 1)
            + 2 * spline.log_slope
        )
    return 2 * spline.log_slope + (math.log(2) if isinstance(spline, CubicSpline) else 1e-12)


@pytest.mark.parametrize("spline", [*SPLINES, CircularSpline(bins=6)], ids=repr)
@pytest.mark.parametrize("spread", [0.0, 1.0, 5.0, 30.0])
def test_spline_round_trip_at_wild_parameters(spline: Spline, spread: float) -> None:
    """One spline, parameters far from any trained net's: 1e-9 in float64, and at its knots too."""
    n = 3000
    theta = params(spline, n, spread)
    x = spline.low + (spline.high - spline.low) * torch.rand(n, dtype=torch.float64)
    x[: n // 2] = knots(spline, theta)[: n // 2, 1 if spline.bins > 2 else 0]
    y, there = spline.forward(x, theta)
    again, back = spline.inverse(y, theta)
    gap = (again - x).abs()
    gap = (
        torch.minimum(gap, (spline.high - spline.low - gap).abs())
        if isinstance(spline, CircularSpline)
        else gap
    )
    assert gap.max() < 1e-9
    # the log-slope itself is steep where parameters are wild, and at the linear spline's knots it
    # jumps
    assert (there + back)[n // 2 if isinstance(spline, LinearSpline) else 0 :].abs().max() < 1e-7


@pytest.mark.parametrize(
    "spline",
    [RQSpline(), LinearSpline(), QuadraticSpline(), CubicSpline(), CircularSpline()],
    ids=repr,
)
@pytest.mark.parametrize("spread", [5.0, 20.0])
def test_spline_round_trip_in_single_precision(spline: Spline, spread: float) -> None:
    """The same in float32, from either side: 1e-4 of the box."""
    n, box = 20_000, spline.high - spline.low
    theta = params(spline, n, spread, torch.float32)
    x = spline.low + box * torch.rand(n)
    for there, back in ((spline.forward, spline.inverse), (spline.inverse, spline.forward)):
        gap = (back(there(x, theta)[0], theta)[0] - x).abs()
        gap = torch.minimum(gap, (box - gap).abs()) if isinstance(spline, CircularSpline) else gap
        assert gap.max() < 1e-4 * box


@pytest.mark.parametrize("spline", SPLINES, ids=repr)
@pytest.mark.parametrize("spread", [5.0, 20.0])
def test_spline_gradients_are_finite(spline: Spline, spread: float) -> None:
    """Wild parameters, in float32: at the ends of the box, a rounding off them, at knots and far
    out, both ways.
    """
    ends = torch.tensor([spline.low, spline.high])
    far = torch.tensor([-3e38, -1e6, 0.0, 1e6, 3e38])
    fixed = torch.cat([ends, ends.nextafter(-far[-1:]), ends.nextafter(far[-1:]), far]).repeat(60)
    theta = params(spline, len(fixed) + 2000, spread, torch.float32)
    box = spline.low + (spline.high - spline.low) * torch.rand(1000)
    x = torch.cat([fixed, knots(spline, theta[-1000:])[:, 0], box]).requires_grad_()
    theta.requires_grad_()
    for direction in (spline.forward, spline.inverse):
        y, logdet = direction(x, theta)
        assert y.isfinite().all()
        assert logdet.isfinite().all()
        for total in (y[y.abs() < 1e9].sum(), logdet.sum()):
            grads = torch.autograd.grad(total, [x, theta], retain_graph=True, allow_unused=True)
            assert all(grad is None or grad.isfinite().all() for grad in grads)


EXTREME = [
    LinearSpline(log_slope=12.0),
    QuadraticSpline(log_slope=12.0),
    CubicSpline(log_slope=12.0),
]
EXTREME += [QuadraticSpline(min_bin=1e-6), CubicSpline(min_bin=1e-6)]


@pytest.mark.parametrize("spline", EXTREME, ids=repr)
def test_extreme_settings_stay_finite(spline: Spline) -> None:
    """Bins thinner than float32 can tell apart cost precision, but nothing becomes infinite,
    gradients included.

    Met in the box, at its ends and a rounding below the knots of either axis, where discriminants
    may round to below zero.
    """
    n = 50_000
    theta = params(spline, n, 20.0, torch.float32)
    x = spline.low + (spline.high - spline.low) * torch.rand(n)
    x[:2000] = torch.tensor([spline.low, spline.high]).repeat(1000)
    x[2000:20_000] = knots(spline, theta)[2000:20_000, 4]
    y = spline.forward(x, theta)[0]
    below = torch.tensor(-math.inf)
    theta.requires_grad_()
    for direction, start in (
        (spline.forward, x),
        (spline.inverse, y.nextafter(below).clamp_min(spline.low)),
        (spline.inverse, x),
    ):
        y, logdet = direction(start, theta)
        assert y.isfinite().all()
        assert logdet.isfinite().all()
        for total in (y.sum(), logdet.sum()):
            assert torch.autograd.grad(total, theta, retain_graph=True)[0].isfinite().all()


@pytest.mark.parametrize("spline", SPLINES, ids=repr)
def test_nan_is_alone(spline: Spline) -> None:
    """A NaN gives NaN for itself; parameters keep finite gradients, those of its own entry too."""
    x = torch.full((2, 3), 0.3 * spline.high, dtype=torch.float64)
    theta = params(spline, 6).view(2, 3, -1).requires_grad_()
    for direction in (spline.forward, spline.inverse):
        clean = direction(x, theta)[0]
        bad = x.clone()
        bad[1, 1] = math.nan
        y, logdet = direction(bad, theta)
        assert y.isnan().sum() == 1
        assert y[1, 1].isnan()
        assert torch.equal(y[0], clean[0])
        (grad,) = torch.autograd.grad(y.nan_to_num().sum() + logdet.sum(), theta)
        assert grad.isfinite().all()


def knots(spline: Spline | CircularSpline, theta: Tensor) -> Tensor:
    """Inner knots on the data's axis (n, K − 1), from the map's own parameters."""
    share = theta[:, : spline.bins].softmax(1)
    width = spline.high - spline.low
    if isinstance(spline, LinearSpline):
        share, least = torch.full_like(share, 1 / spline.bins), 0.0
    else:
        least = spline.min_bin
    sizes = share * (width * (1 - least)) + width * least / spline.bins
    return (sizes.cumsum(1) + spline.low)[:, :-1]


@pytest.mark.parametrize(
    "spline", [RQSpline(bins=5), QuadraticSpline(bins=5), CubicSpline(bins=5)], ids=repr
)
def test_spline_is_smooth_across_knots(spline: Spline) -> None:
    """Value and slope agree on both sides of every knot."""
    theta = params(spline, 300, 2.0)
    for k in range(4):
        at = knots(spline, theta)[:, k]
        (left, left_slope), (right, right_slope) = (
            spline.forward(at + e, theta) for e in (-1e-9, 1e-9)
        )
        assert (right - left).abs().max() < 1e-6
        assert (right_slope - left_slope).abs().max() < 1e-4


@pytest.mark.parametrize("spline", [RQSpline(), QuadraticSpline(), CubicSpline()], ids=repr)
def test_spline_joins_its_tails_smoothly(spline: Spline) -> None:
    """The slope just inside the box is that of the tails, 1."""
    theta = params(spline, 300, 5.0)
    for at in (spline.low + 1e-9, spline.high - 1e-9):
        logdet = spline.forward(torch.full((300,), at, dtype=torch.float64), theta)[1]
        assert logdet.abs().max() < 1e-6


def test_linear_spline_is_a_histogram() -> None:
    """Constant density within each of the equal bins, proportional to the exponentials of the
    clamped parameters.
    """
    spline = LinearSpline(bins=4, low=0.0, high=8.0, log_slope=2.0)
    theta = torch.tensor([1.0, -3.0, 0.0, 40.0], dtype=torch.float64)
    level = (2 * torch.tanh(theta / 2)).exp()
    slopes = 4 * level / level.sum()
    x = torch.arange(8, dtype=torch.float64) + 0.5
    y, logdet = spline.forward(x, theta.expand(8, -1))
    torch.testing.assert_close(logdet.exp(), slopes.repeat_interleave(2))
    torch.testing.assert_close(y[1::2], 2 * slopes.cumsum(0) - 0.5 * slopes)


def test_quadratic_spline_has_a_piecewise_linear_density() -> None:
    """Between two knots the density is the straight line through those at the knots, and the area
    under it is the value.
    """
    spline = QuadraticSpline(bins=6)
    theta = params(spline, 200, 3.0)
    inner = knots(spline, theta)
    at = torch.cat([torch.full((200, 1), spline.low), inner, torch.full((200, 1), spline.high)], 1)
    y, logdet = (
        out.view(at.shape) for out in spline.forward(at.flatten(), theta.repeat_interleave(7, 0))
    )
    v, w = logdet.exp(), at.diff(dim=1)
    torch.testing.assert_close(y.diff(dim=1), w * (v[:, 1:] + v[:, :-1]) / 2)
    middle = spline.forward((at[:, 1:] - 0.5 * w).flatten(), theta.repeat_interleave(6, 0))[1].view(
        w.shape
    )
    torch.testing.assert_close(middle.exp(), (v[:, 1:] + v[:, :-1]) / 2)


def test_cubic_spline_is_steffens() -> None:
    """Between knots it is the cubic with Steffen's derivatives, 1 at the ends, where no mean slope
    is below ½.
    """
    spline = CubicSpline(bins=6)
    theta = params(spline, 200, 3.0)
    at = torch.cat(
        [torch.full((200, 1), spline.low), knots(spline, theta), torch.full((200, 1), spline.high)],
        1,
    )
    y, logdet = (
        out.view(at.shape) for out in spline.forward(at.flatten(), theta.repeat_interleave(7, 0))
    )
    w, d = at.diff(dim=1), logdet.exp()
    s = y.diff(dim=1) / w
    parabola = (s[:, :-1] * w[:, 1:] + s[:, 1:] * w[:, :-1]) / (w[:, :-1] + w[:, 1:])
    torch.testing.assert_close(
        d[:, 1:-1], torch.minimum(torch.minimum(2 * s[:, :-1], 2 * s[:, 1:]), parabola)
    )
    torch.testing.assert_close(d[:, [0, -1]], torch.ones(200, 2, dtype=torch.float64))
    assert s[:, [0, -1]].min() > 0.5
    middle = spline.forward((at[:, 1:] - 0.5 * w).flatten(), theta.repeat_interleave(6, 0))[0].view(
        w.shape
    )
    # Hermite's form
    torch.testing.assert_close(middle, (y[:, 1:] + y[:, :-1]) / 2 + w * (d[:, :-1] - d[:, 1:]) / 8)


def test_circle_closes() -> None:
    """The same slope on both sides of the seam, values within the circle, turns forgotten."""
    circle = CircularSpline(bins=4, low=0.0, high=2.0)
    theta = params(circle, 200)
    left, right = (
        circle.forward(torch.full((200,), v, dtype=torch.float64), theta) for v in (1e-9, 2 - 1e-9)
    )
    # 2e-9 apart, times the curvature of the steepest bin
    assert (left[1] - right[1]).abs().max() < 1e-4
    x = torch.rand(200, dtype=torch.float64) * 2
    turned = circle.forward(x + 6, theta)
    torch.testing.assert_close(turned[1], circle.forward(x, theta)[1])
    assert ((turned[0] >= 0) & (turned[0] < 2)).all()


@pytest.mark.parametrize(
    "build",
    [
        lambda: RQSpline(bins=1),
        lambda: RQSpline(low=1.0, high=1.0),
        lambda: RQSpline(low=-math.inf),
        lambda: RQSpline(min_bin=0.0),
        lambda: RQSpline(min_bin=1.0),
        lambda: RQSpline(log_slope=0.0),
        lambda: RQSpline(ends="round"),  # type: ignore[arg-type]
        lambda: CircularSpline(bins=0),
        lambda: LinearSpline(bins=1),
        lambda: LinearSpline(high=math.inf),
        lambda: LinearSpline(log_slope=0.0),
        lambda: QuadraticSpline(bins=2),
        lambda: QuadraticSpline(min_bin=0.0),
        lambda: QuadraticSpline(log_slope=math.nan),
        lambda: CubicSpline(bins=1),
        lambda: CubicSpline(low=5.0),
        lambda: CubicSpline(min_bin=1.0),
        lambda: Affine(log_scale=0.0),
        lambda: Affine(log_scale=math.inf),
        lambda: Affine(log_scale=math.nan),
    ],
)
def test_bad_settings(build: object) -> None:
    with pytest.raises(ConfigError):
        build()  # type: ignore[operator]


@every
def test_bend_is_the_derivative_of_the_log_det(name: str) -> None:
    """And the pair beside it is that of `inverse`, with its gradients."""
    map = MAPS[name]
    theta = params(map, 200, 1.0).requires_grad_()
    y = (2 * torch.randn(200, dtype=torch.float64)).requires_grad_()
    x, logdet = map.inverse(y, theta)
    found = torch.autograd.grad((logdet + 0 * y).sum(), y, retain_graph=True)
    again, same, bend = map.inverse_and_logdet_grad(y, theta)
    assert not bend.requires_grad
    torch.testing.assert_close(bend, found[0])
    one = torch.autograd.grad(x.sum() + logdet.square().sum(), [y, theta])
    two = torch.autograd.grad(again.sum() + same.square().sum(), [y, theta])
    torch.testing.assert_close(one, two)
