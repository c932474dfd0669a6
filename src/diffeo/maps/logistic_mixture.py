"""The mixture of logistics: Flow++'s map."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..core.errors import ConfigError
from ..core.numerics import soft_clamp
from .base import ElementwiseMap

__all__ = ["LogisticMixture"]

Mixture = tuple[Tensor, Tensor, Tensor]  # log π, μ, exp(−s), each (*S, K)
TOUCH = 16  # steps of so many units in the last place are converged
ITERATIONS = {
    torch.float32: 26,
    torch.float64: 44,
}  # where the worst of 1e5 wild parameters (standard deviation 20) stops improving


@dataclass(frozen=True)
class LogisticMixture(ElementwiseMap):
    """y = exp(a) [(1 − ε) logit F(x) + ε x] + t, F(x) = Σ_i π_i σ((x − μ_i) exp(−s_i)), a mixture of K logistics.

    Parameters (a, t, K logits of π, K μ, K s), P = 2 + 3K; |a| ≤ `log_scale` and |s_i| ≤ `log_width`, softly. The share ε
    = `floor` of the identity, which the paper does not have, keeps the slope above ε exp(a) between components far
    apart, so that float32 can invert. The inverse is Newton's method in a bracket, a fixed number of steps; its gradients,
    those of its log-det too, come from the implicit function theorem. Flow++, Ho et al. 2019, arXiv:1902.00275. Raises
    `ConfigError` unless there is at least one component, both bounds are positive and 0 < ε < 1.

    >>> import torch, diffeo
    >>> mixture = diffeo.maps.LogisticMixture(components=4)
    >>> y, logdet = mixture.forward(torch.tensor([1.0]), torch.zeros(1, mixture.num_params))
    >>> torch.allclose(y, torch.ones(1)), torch.allclose(logdet, torch.zeros(1), atol=1e-6)
    (True, True)
    """

    components: int = 8
    log_scale: float = 2.0
    log_width: float = 3.0
    floor: float = 0.05

    def __post_init__(self) -> None:
        if self.components < 1:
            raise ConfigError(f"a mixture needs at least 1 component, got {self.components}")
        for name, bound in (("log_scale", self.log_scale), ("log_width", self.log_width)):
            if not 0 < bound < math.inf:
                raise ConfigError(f"{name} must be positive and finite, got {bound}")
        if not 0 < self.floor < 1:
            raise ConfigError(f"floor is the share of the identity and lies in (0, 1), got {self.floor}")

    @property
    def num_params(self) -> int:
        return 2 + 3 * self.components

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift, mixture = self._split(params)
        y, slope = self._curve(x, mixture)
        return torch.addcmul(shift, y, log_scale.exp()), slope.log() + log_scale

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift, mixture = self._split(params)
        target = (y - shift) * (-log_scale).exp()
        with torch.no_grad():
            root = self._solve(target, mixture)
        # The implicit function theorem: a Newton step of no length, whose derivative is dx = (dy − ∂f/∂θ dθ) / f'. The second
        # one makes second derivatives right too.
        x = root
        for _ in range(2):
            value, slope = self._curve(x, mixture)
            gap = target - value
            x = x + (gap - gap.detach()) / slope
        return x, -self._curve(x, mixture)[1].log() - log_scale

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Mixture]:
        weights, means, widths = params[..., 2:].unflatten(-1, (3, self.components)).unbind(-2)
        log_widths = soft_clamp(widths, self.log_width)
        return soft_clamp(params[..., 0], self.log_scale), params[..., 1], (weights.log_softmax(-1), means, (-log_widths).exp())

    def _curve(self, x: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
        y, slope = _logit_cdf(x, mixture)
        return y + self.floor * (x - y), (1 - self.floor) * slope + self.floor

    def _solve(self, target: Tensor, mixture: Mixture) -> Tensor:
        """The x where the curve has the value `target`."""
        _, means, steepness = mixture
        # The curve lies between the straight lines that its components alone would give.
        lines = (target.unsqueeze(-1) + (1 - self.floor) * means * steepness) / ((1 - self.floor) * steepness + self.floor)
        low, high = lines.amin(-1), lines.amax(-1)
        x, last = 0.5 * (low + high), high - low
        for _ in range(ITERATIONS.get(target.dtype, 44)):
            value, slope = self._curve(x, mixture)
            above = value > target
            low, high = torch.where(above, low, x), torch.where(above, x, high)
            step = (target - value) / slope
            # Where Newton leaves the bracket, or its steps do not halve, halve the bracket instead; a step within rounding is
            # convergence, not a failure to halve.
            small = step.abs() <= TOUCH * torch.finfo(x.dtype).eps * (1 + x.abs())
            good = (x + step >= low) & (x + step <= high) & ((step.abs() <= 0.5 * last) | small)
            moved = torch.where(good, x + step, 0.5 * (low + high))
            x, last = moved, (moved - x).abs()
        value, slope = self._curve(x, mixture)
        return x + (target - value) / slope  # a last step as it comes: the loop's may have been a bisection


def _logit_cdf(x: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """logit F(x) = log F − log(1 − F), each by logsumexp, and its slope, a sum of positive terms: nothing cancels."""
    log_pi, means, steepness = mixture
    z = (x.unsqueeze(-1) - means) * steepness
    below = logsigmoid(z)
    under, over = log_pi + below, log_pi + (below - z)  # log π σ(z), log π σ(−z)
    log_cdf, log_rest = under.logsumexp(-1), over.logsumexp(-1)
    right = torch.sigmoid(z)
    weights = (under - log_cdf.unsqueeze(-1)).exp() * (1 - right) + (over - log_rest.unsqueeze(-1)).exp() * right
    return log_cdf - log_rest, (weights * steepness).sum(-1)
