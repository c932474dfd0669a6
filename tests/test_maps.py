"""What the elementwise maps promise beyond the contract: bounds, boxes, knots, stable roots."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cases import MAPS
from diffeo.core.errors import ConfigError
from diffeo.maps import Additive, Affine, CircularSpline, ElementwiseMap, RQSpline

SPLINES = [RQSpline(), RQSpline(ends="free"), RQSpline(bins=2), RQSpline(bins=30, low=0.0, high=1.0)]
every = pytest.mark.parametrize("name", list(MAPS))


def params(map: ElementwiseMap, n: int, spread: float = 2.0, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
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
    """Backward is itself differentiable, and right: needed by score matching and Hamiltonian samplers."""
    map = MAPS[name]
    theta = params(map, 2, 1.0).requires_grad_()
    x = torch.linspace(-1.7, 1.9, 2, dtype=torch.float64).requires_grad_()
    for direction in (map.forward, map.inverse):
        assert torch.autograd.gradgradcheck(lambda a, b, f=direction: sum(f(a, b)), (x, theta), atol=1e-4)


def test_affine_scale_is_bounded_symmetric_and_one_at_zero() -> None:
    """nflows#49: scales above 1 are reachable; scale(0) = 1 with slope 1; both directions the same bound."""
    map = Affine(log_scale=2.0)
    a = torch.tensor([-1e6, -1.0, 0.0, 1.0, 1e6], dtype=torch.float64)
    logdet = map.forward(torch.ones(5, dtype=torch.float64), torch.stack([a, torch.zeros_like(a)], 1))[1]
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
def test_spline_is_the_identity_outside_its_box(spline: RQSpline) -> None:
    span = spline.high - spline.low
    x = torch.tensor([spline.low - 1e-3, spline.low - span, spline.high + 1e-3, 1e30], dtype=torch.float64)
    y, logdet = spline.forward(x, params(spline, 4))
    assert torch.equal(y, x)
    assert torch.equal(logdet, torch.zeros(4, dtype=torch.float64))


@pytest.mark.parametrize("spline", SPLINES, ids=repr)
def test_spline_meets_the_box_at_its_ends(spline: RQSpline) -> None:
    for end in (spline.low, spline.high):
        x = torch.full((50,), end, dtype=torch.float64)
        for direction in (spline.forward, spline.inverse):
            y, logdet = direction(x, params(spline, 50, 3.0))
            assert (y - x).abs().max() < 1e-14 * 20
            if spline.ends == "linear":
                assert logdet.abs().max() < 1e-9  # rounding of the last knot, times the curvature of a steep bin


@pytest.mark.parametrize("spline", SPLINES, ids=repr)
def test_slope_is_bounded_inside_the_bins(spline: RQSpline) -> None:
    """Parameters as wild as they come: the slope stays within what min_bin and log_slope promise, so float32 can invert.

    A bin's mean slope is within a factor r = 1 + K (1 − min_bin) / min_bin of 1, the derivatives at its knots within
    another exp(log_slope); the slope between them is measured to stay within the square of both.
    """
    n = 4000
    theta = params(spline, n, 30.0)
    x = torch.rand(n, dtype=torch.float64) * (spline.high - spline.low) + spline.low
    logdet = spline.forward(x, theta)[1]
    ratio = math.log((1 - spline.min_bin) * spline.bins / spline.min_bin + 1)
    assert logdet.max() < 2 * ratio + 2 * spline.log_slope
    assert logdet.min() > -(2 * ratio + 2 * spline.log_slope)


@pytest.mark.parametrize("spline", [*SPLINES, CircularSpline(bins=6)], ids=repr)
@pytest.mark.parametrize("spread", [0.0, 1.0, 5.0, 30.0])
def test_spline_round_trip_at_wild_parameters(spline: RQSpline, spread: float) -> None:
    """One spline, parameters far from any trained net's: 1e-9 in float64, and at its knots too."""
    n = 3000
    theta = params(spline, n, spread)
    x = spline.low + (spline.high - spline.low) * torch.rand(n, dtype=torch.float64)
    x[: n // 2] = knots(spline, theta)[: n // 2, 1]
    y, there = spline.forward(x, theta)
    again, back = spline.inverse(y, theta)
    gap = (again - x).abs()
    gap = torch.minimum(gap, (spline.high - spline.low - gap).abs()) if isinstance(spline, CircularSpline) else gap
    assert gap.max() < 1e-9
    assert (there + back).abs().max() < 1e-7  # the log-slope itself is steep where parameters are wild


def knots(spline: RQSpline | CircularSpline, theta: Tensor) -> Tensor:
    """Inner knots on the data's axis (n, K − 1), from the map's own parameters."""
    share = theta[:, : spline.bins].softmax(1)
    width = spline.high - spline.low
    sizes = share * (width * (1 - spline.min_bin)) + width * spline.min_bin / spline.bins
    return (sizes.cumsum(1) + spline.low)[:, :-1] if spline.bins > 2 else (sizes.cumsum(1) + spline.low)


def test_spline_is_smooth_across_knots() -> None:
    """Value and slope agree on both sides of every knot."""
    spline = RQSpline(bins=5)
    theta = params(spline, 300, 2.0)
    for k in range(4):
        at = knots(spline, theta)[:, k]
        (left, left_slope), (right, right_slope) = (spline.forward(at + e, theta) for e in (-1e-9, 1e-9))
        assert (right - left).abs().max() < 1e-6
        assert (right_slope - left_slope).abs().max() < 1e-4


def test_circle_closes() -> None:
    """The same slope on both sides of the seam, values within the circle, turns forgotten."""
    circle = CircularSpline(bins=4, low=0.0, high=2.0)
    theta = params(circle, 200)
    left, right = (circle.forward(torch.full((200,), v, dtype=torch.float64), theta) for v in (1e-9, 2 - 1e-9))
    assert (left[1] - right[1]).abs().max() < 1e-4  # 2e-9 apart, times the curvature of the steepest bin
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
        lambda: Affine(log_scale=0.0),
        lambda: Affine(log_scale=math.inf),
        lambda: Affine(log_scale=math.nan),
    ],
)
def test_bad_settings(build: object) -> None:
    with pytest.raises(ConfigError):
        build()  # type: ignore[operator]
