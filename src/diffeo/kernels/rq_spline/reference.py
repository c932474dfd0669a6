"""The rational-quadratic spline with bounded slopes, in PyTorch, with analytic gradients.

Notation of one bin (Durkan et al. 2019, arXiv:1906.04032, eqs. 4 to 8): left knot (x0, y0), width
w, height h, slope s = h/w, derivatives d0 and d1 at its two knots, ξ = (x − x0)/w, q = ξ(1 − ξ), t
= d0 + d1 − 2s:

    y = y0 + h (s ξ² + d0 q) / (s + t q)
    log dy/dx = log[ s² (d1 ξ² + 2 s q + d0 (1 − ξ)²) / (s + t q)² ]

Two choices bound the slope *inside* the bins, where the textbook form can fall to 1e-7: every width
and height is at least `min_bin`/K of the box, and the derivative at a knot is the harmonic mean of
the slopes on its two sides times a factor within exp(±`log_slope`). Backward is written by hand,
and is itself differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.tracing import traced

__all__ = ["SplineShape", "rq_spline", "rq_spline_inverse_and_logdet_grad"]


@dataclass(frozen=True)
class SplineShape:
    """What of a spline is fixed at build time. `edges`: derivative 1 at the ends, free ends, or one
    shared by both.
    """

    bins: int
    low: float
    high: float
    edges: Literal["unit", "free", "periodic"]
    min_bin: float
    log_slope: float

    @property
    def num_params(self) -> int:
        return 3 * self.bins + {"unit": -1, "free": 1, "periodic": 0}[self.edges]


def rq_spline(
    x: Tensor, params: Tensor, shape: SplineShape, *, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """x (*S), params (*S, P) -> value and log-derivative (*S); the identity outside the box."""
    rows, row_params = x.reshape(-1), params.reshape(-1, params.shape[-1])
    value: Tensor
    logdet: Tensor
    if traced():
        # these differentiate the formulas by themselves
        value, logdet, _ = _solve(rows, row_params, shape, inverse=inverse)
    else:
        value, logdet = _RQSpline.apply(rows, row_params, shape, inverse)  # type: ignore[no-untyped-call]
    return value.view(x.shape), logdet.view(x.shape)


def rq_spline_inverse_and_logdet_grad(
    y: Tensor, params: Tensor, shape: SplineShape
) -> tuple[Tensor, Tensor, Tensor]:
    """The inverse of y (*S), its log-derivative, and the derivative of that by y, which carries no
    gradient.
    """
    parts = _RQSpline.apply(y.reshape(-1), params.reshape(-1, params.shape[-1]), shape, True, True)  # type: ignore[no-untyped-call]
    value, logdet, grad = (part.view(y.shape) for part in parts)
    return value, logdet, grad


def _solve(
    x: Tensor, params: Tensor, shape: SplineShape, *, inverse: bool
) -> tuple[Tensor, Tensor, _Bin]:
    inside = _inside(x, shape)
    at = torch.where(inside, x, 0.5 * (shape.low + shape.high))
    bin_ = _Bin(at, params, shape, axis=1 if inverse else 0)
    value, logdet = bin_.solve(at) if inverse else bin_.evaluate(at)
    return torch.where(inside, value, x), torch.where(inside, logdet, 0.0), bin_


class _RQSpline(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        params: Tensor,
        shape: SplineShape,
        inverse: bool,
        logdet_grad: bool = False,
    ) -> tuple[Tensor, ...]:
        value, logdet, ctx.bin = _solve(x, params, shape, inverse=inverse)
        ctx.shape, ctx.part = shape, None
        # Both directions are differentiated at the data side: the inverse by the implicit function
        # theorem.
        ctx.save_for_backward(x, params, *((value,) if inverse else ()))
        if not logdet_grad:
            return value, logdet
        inside = _inside(x, shape)
        # backward uses them again
        ctx.part = ctx.bin.partials(torch.where(inside, value, 0.5 * (shape.low + shape.high)))
        grad = torch.where(inside, -ctx.part.l_x / ctx.part.slope, 0.0)
        ctx.mark_non_differentiable(grad)
        return value, logdet, grad

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        given, params, *solved = ctx.saved_tensors
        grad_value, grad_logdet = grads[:2]
        inside = _inside(given, ctx.shape)
        middle = 0.5 * (ctx.shape.low + ctx.shape.high)
        grad_y, grad_l = torch.where(inside, grad_value, 0.0), torch.where(inside, grad_logdet, 0.0)
        at = torch.where(inside, solved[0] if solved else given, middle)
        bin_: _Bin = ctx.bin
        # a second derivative is wanted: it needs the bin as a function of x and the parameters
        if torch.is_grad_enabled():
            bin_ = _Bin(
                torch.where(inside, given, middle), params, ctx.shape, axis=1 if solved else 0
            )
            part = bin_.partials(at)
        else:
            part = ctx.part if ctx.part is not None else bin_.partials(at)
        if solved:
            # log-det of the inverse is −l(x(y), θ): chain through x, then ∂x/∂θ = −(∂y/∂θ) /
            # (∂y/∂x).
            grad_in = (grad_y - grad_l * part.l_x) / part.slope
            grad_params = bin_.backward(part, -grad_in, -grad_l)
        else:
            grad_in = grad_y * part.slope + grad_l * part.l_x
            grad_params = bin_.backward(part, grad_y, grad_l)
        return torch.where(inside, grad_in, grad_value), grad_params, None, None, None


def _inside(x: Tensor, shape: SplineShape) -> Tensor:
    return (x >= shape.low) & (x <= shape.high)


@dataclass(kw_only=True)
class _Partials:
    slope: Tensor  # dy/dx
    l_x: Tensor  # ∂l/∂x, l = log dy/dx
    y_s: Tensor  # ∂y/∂s, ... at fixed ξ
    y_d0: Tensor
    y_d1: Tensor
    l_s: Tensor
    l_d0: Tensor
    l_d1: Tensor


def search(at: Tensor, knots: Tensor) -> Tensor:
    """The number of the bin of at (N,) between inner knots (N, K − 1), rising: (N, 1). On a knot,
    the bin to its right.
    """
    if traced():
        return (at.detach()[:, None] >= knots.detach()).sum(1, keepdim=True)
    # A copy and a binary search: half the time of comparing with all knots and counting.
    return torch.searchsorted(
        knots.detach().to(at.dtype).contiguous(), at.detach().contiguous()[:, None], right=True
    )


def _running_sums(sizes: Tensor) -> Tensor:
    """Over the last axis."""
    if not torch.compiler.is_compiling():
        return sizes.cumsum(-1)
    # the gradient of cumsum asks how many rows there are, which would need a graph for each answer
    count = sizes.shape[-1]
    return sizes @ torch.ones(count, count, dtype=sizes.dtype, device=sizes.device).triu()


class _Bin:
    """The bin that each entry falls into, looked up on the axis of x (0) or of y (1)."""

    def __init__(self, at: Tensor, params: Tensor, shape: SplineShape, axis: int) -> None:
        k = shape.bins
        self.shape = shape
        self.raw = params[:, 2 * k :]
        self.share = params[:, : 2 * k].unflatten(1, (2, k)).softmax(2)
        width = shape.high - shape.low
        self.gain = width * (1 - shape.min_bin)
        # (N, 2, K): widths and heights
        self.sizes = self.share * self.gain + width * shape.min_bin / k
        knots = F.pad(_running_sums(self.sizes), (1, 0)) + shape.low
        self.index = search(at, knots[:, axis, 1:-1])
        at_bin = self.index[:, None].expand(-1, 2, -1)
        self.x0, self.y0 = knots.gather(2, at_bin)[..., 0].unbind(1)
        self.w, self.h = self.sizes.gather(2, at_bin)[..., 0].unbind(1)
        self.slopes = self.sizes[:, 1] / self.sizes[:, 0]
        self.s = self.h / self.w
        derivatives = self._derivatives()
        self.d0 = derivatives.gather(1, self.index)[:, 0]
        self.d1 = derivatives.gather(1, self.index + 1)[:, 0]

    def _derivatives(self) -> Tensor:
        """The derivatives at all K + 1 knots."""
        left, right, raw = self.slopes[:, :-1], self.slopes[:, 1:], self.raw
        if self.shape.edges != "unit":
            first, last = self.slopes[:, :1], self.slopes[:, -1:]
            before, after = (last, first) if self.shape.edges == "periodic" else (first, last)
            left, right = torch.cat([before, self.slopes], 1), torch.cat([self.slopes, after], 1)
        if self.shape.edges == "periodic":
            raw = torch.cat([raw, raw[:, :1]], 1)
        bound = self.shape.log_slope
        inner = (2 * left * right / (left + right)) * torch.exp(torch.tanh(raw / bound) * bound)
        return F.pad(inner, (1, 1), value=1.0) if self.shape.edges == "unit" else inner

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        xi = ((x - self.x0) / self.w).clamp(0, 1)
        q = xi * (1 - xi)
        den = self.s + (self.d0 + self.d1 - 2 * self.s) * q
        y = self.y0 + self.h * (self.s * xi * xi + self.d0 * q) / den
        return y, self._log_slope(xi, q, den)

    def solve(self, y: Tensor) -> tuple[Tensor, Tensor]:
        v = ((y - self.y0) / self.h).clamp(0, 1)
        t = self.d0 + self.d1 - 2 * self.s
        a, b = self.s - self.d0 + v * t, self.d0 - v * t
        # rounding may take it below zero, sqrt's slope is inf at it
        root = (b * b + 4 * a * self.s * v).clamp_min(1e-30).sqrt()
        # Two forms of the same root, each free of cancellation on its side; where b < 0, a > 0.
        xi = torch.where(b < 0, (root - b) / (2 * a), 2 * self.s * v / (b + root)).clamp(0, 1)
        q = xi * (1 - xi)
        return self.x0 + self.w * xi, -self._log_slope(xi, q, self.s + t * q)

    def _log_slope(self, xi: Tensor, q: Tensor, den: Tensor) -> Tensor:
        over = self.s / den
        return torch.log(
            over * over * (self.d1 * xi * xi + 2 * self.s * q + self.d0 * (1 - xi) ** 2)
        )

    def partials(self, x: Tensor) -> _Partials:
        s, d0, d1 = self.s, self.d0, self.d1
        xi = ((x - self.x0) / self.w).clamp(0, 1)
        xi1 = 1 - xi
        q = xi * xi1
        t = d0 + d1 - 2 * s
        inv_den = 1 / (s + t * q)
        p = d1 * xi * xi + 2 * s * q + d0 * xi1 * xi1
        inv_p = 1 / p
        r = (s * xi * xi + d0 * q) * inv_den
        h_den = self.h * inv_den
        two_q = 2 * q
        two_q_den = two_q * inv_den
        l_xi = 2 * ((d1 * xi + s * (xi1 - xi) - d0 * xi1) * inv_p - t * (xi1 - xi) * inv_den)
        self.xi, self.r = xi, r
        return _Partials(
            slope=(s * inv_den) ** 2 * p,
            l_x=l_xi / self.w,
            y_s=h_den * (xi * xi - r * (1 - two_q)),
            y_d0=h_den * q * (1 - r),
            y_d1=-h_den * q * r,
            l_s=2 / s + two_q * inv_p - 2 * (1 - two_q) * inv_den,
            l_d0=xi1 * xi1 * inv_p - two_q_den,
            l_d1=xi * xi * inv_p - two_q_den,
        )

    def backward(self, part: _Partials, grad_y: Tensor, grad_l: Tensor) -> Tensor:
        """Gradient with respect to the parameters at fixed x: (N, P)."""
        k, n = self.shape.bins, grad_y.shape[0]
        grad_x = grad_y * part.slope + grad_l * part.l_x
        g_d0 = (grad_y * part.y_d0 + grad_l * part.l_d0) * self.d0
        g_d1 = (grad_y * part.y_d1 + grad_l * part.l_d1) * self.d1
        g_raw, g_slopes = self._backward_derivatives(g_d0, g_d1)
        g_slopes = g_slopes.scatter_add(
            1, self.index, (grad_y * part.y_s + grad_l * part.l_s)[:, None]
        )
        # Knots are sums of the sizes before them; sizes of the own bin enter through ξ and the
        # height.
        before = torch.arange(k, device=self.index.device) < self.index
        here = self.index[:, None].expand(n, 2, 1)
        g_sizes = before[:, None] * torch.stack([-grad_x, grad_y], 1)[..., None]
        g_sizes = g_sizes.scatter_add(
            2, here, torch.stack([-grad_x * self.xi, grad_y * self.r], 1)[..., None]
        )
        over_w = g_slopes / self.sizes[:, 0]
        g_sizes = g_sizes + torch.stack([-over_w * self.slopes, over_w], 1)
        g_share = self.share * (g_sizes - (self.share * g_sizes).sum(2, keepdim=True)) * self.gain
        return torch.cat([g_share.flatten(1), g_raw], 1)

    def _backward_derivatives(self, g_d0: Tensor, g_d1: Tensor) -> tuple[Tensor, Tensor]:
        """From gradients by log d0, log d1: those by the raw derivative parameters and by the
        slopes of all bins.
        """
        k, edges = self.shape.bins, self.shape.edges
        zeros = torch.zeros_like(self.slopes)
        g_knots = F.pad(zeros, (0, 1)).scatter_add(1, self.index, g_d0[:, None])
        g_knots = g_knots.scatter_add(1, self.index + 1, g_d1[:, None])  # (N, K + 1)
        if edges == "periodic":
            g_knots = torch.cat([g_knots[:, :1] + g_knots[:, -1:], g_knots[:, 1:-1]], 1)
            left, right = self.slopes.roll(1, 1), self.slopes
        else:
            left, right = self.slopes[:, :-1], self.slopes[:, 1:]
        inner = g_knots if edges == "periodic" else g_knots[:, 1:-1]
        total = inner / (left + right)  # ∂ log harmonic(a, b) / ∂a = b / (a (a + b))
        g_left, g_right = total * right / left, total * left / right
        around = edges == "periodic"
        g_slopes = (
            g_left.roll(-1, 1) + g_right
            if around
            else F.pad(g_left, (0, 1)) + F.pad(g_right, (1, 0))
        )
        if edges == "free":  # an end derivative is the slope of its only bin times the factor
            ends = torch.cat(
                [g_knots[:, :1], g_knots.new_zeros(len(g_knots), k - 2), g_knots[:, -1:]], 1
            )
            g_slopes = g_slopes + ends / self.slopes
            inner = g_knots
        return inner * (1 - torch.tanh(self.raw / self.shape.log_slope) ** 2), g_slopes
