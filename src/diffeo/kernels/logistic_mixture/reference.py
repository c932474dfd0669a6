"""The mixture of logistics.

With σ_i = σ(z_i), z_i = (x − μ_i) k_i, k_i = exp(−s_i), F = Σ π_i σ_i, R = 1 − F, and the shares
u_i = π_i σ_i / F and o_i = π_i (1 − σ_i) / R: G = logit F = log F − log R has the slope Σ k_i (u_i
(1 − σ_i) + o_i σ_i), a sum of positive terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ...core.numerics import soft_clamp
from ...core.tracing import traced
from ..elementwise import Pair

__all__ = ["MixtureShape", "logistic_mixture"]

Mixture = tuple[Tensor, Tensor, Tensor]  # log π, μ, exp(−s), each (*S, K)
TOUCH = 16  # steps of so many units in the last place are converged
ITERATIONS = {
    torch.float32: 26,
    torch.float64: 44,
}  # where the worst of 1e5 wild parameters (standard deviation 20) stops improving


@dataclass(frozen=True)
class MixtureShape:
    """What of a mixture is fixed at build time: components, bounds of a and s, the share ε of the
    identity.
    """

    components: int
    log_scale: float
    log_width: float
    floor: float


def logistic_mixture(x: Tensor, params: Tensor, shape: MixtureShape, inverse: bool) -> Pair:
    """x (*S), params (*S, P) -> value and log-derivative (*S)."""
    if traced():
        # these differentiate the formulas by themselves
        return _Curve(shape, params).evaluate(x, inverse)
    y, logdet = _LogisticMixture.apply(x, params, shape, inverse)  # type: ignore[no-untyped-call]
    return y, logdet


class _LogisticMixture(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, params: Tensor, shape: MixtureShape, inverse: bool) -> Pair:
        value, logdet = _Curve(shape, params).evaluate(x, inverse)
        ctx.shape = shape
        ctx.save_for_backward(x, params, *((value,) if inverse else ()))
        return value, logdet

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        given, params, *solved = ctx.saved_tensors
        curve = _Curve(ctx.shape, params)
        if not solved:
            return *curve.vjp(given, grads[0], grads[1]), None, None
        # A second derivative needs the root as a function of y and the parameters.
        root = curve.root(given) if torch.is_grad_enabled() else solved[0]
        return *curve.vjp(root, grads[0], grads[1], inverse=True), None, None


class _Curve:
    """The map of given parameters."""

    def __init__(self, shape: MixtureShape, params: Tensor) -> None:
        self.shape, self.floor, self.params = shape, shape.floor, params
        weights, means, widths = params[..., 2:].unflatten(-1, (3, shape.components)).unbind(-2)
        self.log_scale, self.shift = soft_clamp(params[..., 0], shape.log_scale), params[..., 1]
        self.mixture: Mixture = (
            weights.log_softmax(-1),
            means,
            (-soft_clamp(widths, shape.log_width)).exp(),
        )

    def evaluate(self, x: Tensor, inverse: bool) -> Pair:
        if inverse:
            root = self.root(x)
            return root, -self.at(root)[1].log() - self.log_scale
        y, slope = self.at(x)
        return torch.addcmul(self.shift, y, self.log_scale.exp()), slope.log() + self.log_scale

    def root(self, y: Tensor) -> Tensor:
        """The inverse, differentiable by the implicit function theorem."""
        target = (y - self.shift) * (-self.log_scale).exp()
        with torch.no_grad():
            x = self.solve(target)
        # A Newton step of no length, whose derivative is dx = (dy − ∂f/∂θ dθ) / f'; the second
        # makes second derivatives right.
        for _ in range(2 if torch.is_grad_enabled() else 0):
            value, slope = self.at(x)
            gap = target - value
            x = x + (gap - gap.detach()) / slope
        return x

    def vjp(self, x: Tensor, grad_y: Tensor, grad_l: Tensor, inverse: bool = False) -> Pair:
        """From gradients by y and l = log dy/dx (of the inverse: by x and −l) those by x (by y) and
        by the parameters.
        """
        shape, (log_pi, _, k), rest = self.shape, self.mixture, 1 - self.floor
        z, up, down, u, o = _shares(x, self.mixture)
        p, q = (k * u * down).sum(-1, keepdim=True), (k * o * up).sum(-1, keepdim=True)
        # of the slope of G
        by_z = u * down * (k * (down - up) - p) + o * up * (k * (down - up) + q)
        here = u * down + o * up  # of G
        height, slope = self.at(x)
        grow = self.log_scale.exp()
        l_x = rest * (k * by_z).sum(-1) / slope
        grad_in = grad_y * grow * slope + grad_l * l_x
        if inverse:  # log-det −l(x(y), θ), ∂x/∂θ = −(∂y/∂θ) / (∂y/∂x)
            grad_in = (grad_y - grad_l * l_x) / (grow * slope)
            grad_y, grad_l = -grad_in, -grad_l
        by_g, by_slope = (grad_y * grow * rest).unsqueeze(-1), (grad_l * rest / slope).unsqueeze(-1)
        g_pi = by_g * (u - o) + by_slope * (u * (k * down - p) + o * (k * up - q))
        g_z = by_g * here + by_slope * by_z
        raw, widths = self.params[..., 0], self.params[..., -shape.components :]
        g_a = (grad_y * grow * height + grad_l) * (1 - torch.tanh(raw / shape.log_scale) ** 2)
        g_s = -(g_z * z + by_slope * here * k) * (1 - torch.tanh(widths / shape.log_width) ** 2)
        g_logits = g_pi - log_pi.exp() * g_pi.sum(-1, keepdim=True)
        return grad_in, torch.cat([torch.stack([g_a, grad_y], -1), g_logits, -g_z * k, g_s], -1)

    def at(self, x: Tensor) -> Pair:
        """(1 − ε) G(x) + ε x and its slope."""
        y, slope = _logit_cdf(x, self.mixture)
        return y + self.floor * (x - y), (1 - self.floor) * slope + self.floor

    def solve(self, target: Tensor) -> Tensor:
        """The x where the curve has the value `target`: Newton's method in a bracket."""
        _, means, steepness = self.mixture
        # The curve lies between the straight lines that its components alone would give.
        lines = (target.unsqueeze(-1) + (1 - self.floor) * means * steepness) / (
            (1 - self.floor) * steepness + self.floor
        )
        low, high = lines.amin(-1), lines.amax(-1)
        x, last = 0.5 * (low + high), high - low
        for _ in range(ITERATIONS.get(target.dtype, 44)):
            value, slope = self.at(x)
            above = value > target
            low, high = torch.where(above, low, x), torch.where(above, x, high)
            step = (target - value) / slope
            # Where Newton leaves the bracket, or its steps do not halve, halve the bracket instead;
            # a step within rounding is convergence, not a failure to halve.
            small = step.abs() <= TOUCH * torch.finfo(x.dtype).eps * (1 + x.abs())
            good = (x + step >= low) & (x + step <= high) & ((step.abs() <= 0.5 * last) | small)
            moved = torch.where(good, x + step, 0.5 * (low + high))
            x, last = moved, (moved - x).abs()
        value, slope = self.at(x)
        # a last step as it comes: the loop's may have been a bisection
        return x + (target - value) / slope


def _logit_cdf(x: Tensor, mixture: Mixture) -> Pair:
    """G(x) = log F − log R, each by logsumexp, and its slope: nothing cancels."""
    log_pi, _, k = mixture
    z, up, down, u, o = _shares(x, mixture)
    under = log_pi + logsigmoid(z)
    return under.logsumexp(-1) - (under - z).logsumexp(-1), (k * (u * down + o * up)).sum(-1)


def _shares(x: Tensor, mixture: Mixture) -> tuple[Tensor, ...]:
    """z, σ(z), σ(−z), u, o, each (*S, K)."""
    log_pi, means, k = mixture
    z = (x.unsqueeze(-1) - means) * k
    under = log_pi + logsigmoid(z)
    return z, torch.sigmoid(z), torch.sigmoid(-z), under.softmax(-1), (under - z).softmax(-1)
