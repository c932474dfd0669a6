"""What a flow q is trained to minimise when only log p̃, a log density up to a constant, is
known.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor
from torch.autograd import grad

from ...core.streams import Stream, generator_for
from ...flow import Flow
from ...training import Objective
from ..target.density import LogDensity
from .path import decode_with_score

__all__ = [
    "AlphaDivergence",
    "ForwardKL",
    "ImportanceWeighted",
    "Jeffreys",
    "ReverseKL",
    "VariationalObjective",
]

Gradient = Literal["path", "total"]
OUTSIDE = 1e3  # nats of a batch that lies outside the support
LEAST_SHARE = 0.1  # of the draws inside, so that few of them do not make a huge step
HELD_OUT = 4  # one draw in so many is kept to compare weights on


class VariationalObjective(Objective):
    """Losses (B,) of latents z (B, D) drawn from the base: their mean is the loss, log q(x) − log
    p̃(x) in evaluation.

    `target`, log p̃, takes points (B, D) and gives (B,); it is evaluated once at each point of a
    batch.
    """

    def __init__(self, flow: Flow, target: LogDensity) -> None:
        super().__init__()
        self.flow = flow
        self.target = target

    def forward(self, *batch: Tensor) -> Tensor:
        (z,) = batch
        if self.training and torch.is_grad_enabled():
            return self.losses(z)
        x, logdet = self.flow.decode(z)
        return _within(self.flow.base.log_prob(z) - logdet - self.target(x))

    @abstractmethod
    def losses(self, z: Tensor) -> Tensor:
        """The losses with gradients by the flow's parameters."""


class ReverseKL(VariationalObjective):
    """E_q [log q(x) − log p̃(x)] = KL(q ‖ p) − log Z.

    With `gradient="path"` the gradient goes through x alone ("sticking the landing", Roeder et al.
    2017, arXiv:1703.09194): its variance vanishes where q = p. Of a chain of couplings it takes a
    single pass (Vaitl et al. 2024, arXiv:2403.15881). `"total"` is ordinary automatic
    differentiation.
    """

    def __init__(self, flow: Flow, target: LogDensity, gradient: Gradient = "path") -> None:
        super().__init__(flow, target)
        self.gradient = gradient

    def losses(self, z: Tensor) -> Tensor:
        if self.gradient == "total":
            x, logdet = self.flow.decode(z)
            return _within(self.flow.base.log_prob(z) - logdet - self.target(x))
        return _reverse(self.flow, self.target, z)


class Jeffreys(VariationalObjective):
    """KL(q ‖ p) + E_p [−log q(x)], the second by draws (N, D) of the target: close to p where q is,
    and nowhere without mass.

    The draws may be few and rough, as those of tempered Monte Carlo: they keep q from leaving out a
    mode, and the reverse divergence makes it exact. Batches of them are a function of the seed and
    the number of calls, which is part of the state.
    """

    points: Tensor
    held_out: Tensor
    calls: Tensor

    def __init__(self, flow: Flow, target: LogDensity, draws: Tensor, *, seed: int = 0) -> None:
        super().__init__(flow, target)
        self.seed = seed
        kept = torch.arange(len(draws)) % HELD_OUT == 0
        self.register_buffer("points", draws[~kept], persistent=False)
        self.register_buffer("held_out", draws[kept], persistent=False)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def losses(self, z: Tensor) -> Tensor:
        generator = generator_for(self.seed, Stream.DIVERGENCES, int(self.calls))
        self.calls += 1
        rows = torch.randint(len(self.points), (len(z),), generator=generator)
        return _reverse(self.flow, self.target, z) - self.flow.log_prob(
            self.points[rows.to(self.points.device)]
        )

    def forward(self, *batch: Tensor) -> Tensor:
        losses = super().forward(*batch)
        if self.training and torch.is_grad_enabled():
            return losses
        return losses - self.flow.log_prob(self.held_out).mean()


class ImportanceWeighted(VariationalObjective):
    """−E log (1/K) Σ_k w_k, w = p̃/q, K = `samples`: the importance-weighted ELBO (Burda et al.
    2016, arXiv:1509.00519).

    Doubly reparametrised gradient, Σ_k ŵ_k² ∂ log w_k / ∂x_k · ∂x_k with normalised weights ŵ
    (Tucker et al. 2019, arXiv:1810.04152). A batch is cut into groups of K; its size must be a
    multiple of K.
    """

    def __init__(self, flow: Flow, target: LogDensity, samples: int = 16) -> None:
        super().__init__(flow, target)
        self.samples = samples

    def losses(self, z: Tensor) -> Tensor:
        x, log_w, slope = _weights(self.flow, self.target, z)
        share = log_w.view(-1, self.samples).softmax(1).flatten()
        bound = _log_mean_exp(log_w.view(-1, self.samples)).repeat_interleave(self.samples)
        return _along(x, -_wide(share**2 * self.samples, slope) * slope, -bound)


class AlphaDivergence(VariationalObjective):
    """−1/(1 − α) log E_q w^(1 − α): the variational Rényi bound (Li & Turner 2016,
    arXiv:1602.02311), α ≠ 1.

    α = 0 is log Z itself and α → 1 the ELBO; α < 0 punishes what q leaves out. The gradient goes
    through x.
    """

    def __init__(self, flow: Flow, target: LogDensity, alpha: float = 0.5) -> None:
        super().__init__(flow, target)
        self.alpha = alpha

    def losses(self, z: Tensor) -> Tensor:
        x, log_w, slope = _weights(self.flow, self.target, z)
        power = 1 - self.alpha
        share = (power * log_w).softmax(0)
        bound = _log_mean_exp(power * log_w[None]) / power
        return _along(x, -_wide(share * len(z), slope) * slope, -bound.expand(len(z)))


class ForwardKL(VariationalObjective):
    """E_p [log p − log q(x)] by self-normalised importance sampling from q itself: −Σ ŵ_i log
    q(x_i), x_i fixed.

    It covers modes that q reaches at all; its weights are those of q before the step.
    """

    def losses(self, z: Tensor) -> Tensor:
        with torch.no_grad():
            x, logdet = self.flow.decode(z)
            log_w = self.target(x) - self.flow.base.log_prob(z) + logdet
            share = log_w.softmax(0) * len(z)
        return -share * self.flow.log_prob(x)


def _reverse(flow: Flow, target: LogDensity, z: Tensor) -> Tensor:
    """log q(x) − log p̃(x), with the path gradient."""
    x, log_w, slope = _weights(flow, target, z)
    loss = _along(x, -slope, _within(-log_w))
    outside = ~log_w.isfinite()
    return loss + _inwards(flow, x.detach(), outside) if bool(outside.any()) else loss


def _weights(flow: Flow, target: LogDensity, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x with its graph; log w = log p̃ − log q and its slope ∂ log w / ∂x at fixed parameters, both
    without.
    """
    x, log_q, score = decode_with_score(flow, z)
    point = x.detach().requires_grad_()
    log_p = target(point)
    (slope,) = grad(log_p.sum(), point)
    outside = ~log_p.isfinite()
    return (
        x,
        (log_p - log_q).detach(),
        (slope.to(score.dtype) - score).masked_fill(_wide(outside, score), 0.0),
    )


def _wide(per_row: Tensor, like: Tensor) -> Tensor:
    return per_row.view(-1, *[1] * (like.dim() - 1))


def _within(loss: Tensor) -> Tensor:
    """Losses (B,) whose mean is that of the flow cut to the support, of share m, plus −log m for
    the draws that are lost.

    The cut flow's density is q/m, so log q − log p̃ grows by −log m. With nothing inside all count
    as `OUTSIDE` nats.
    """
    inside = loss.isfinite()
    if bool(inside.all()):
        return loss
    if not bool(inside.any()):
        return torch.full_like(loss, OUTSIDE)
    share = inside.to(loss.dtype).mean()
    return torch.where(inside, loss, loss[inside].detach().mean()) - 2 * share.log()


def _inwards(flow: Flow, x: Tensor, outside: Tensor) -> Tensor:
    """Zeros (B,) with the gradient of −log m, m the share of draws inside the support: ∂m = E_q
    [1_inside ∂ log q].

    A density of zero has no slope along which path gradients could go. Where q is p̃ inside up to a
    factor, this is the gradient of KL(p ‖ q).
    """
    sound = x.flatten(1).isfinite().all(1)
    share = (~outside).to(x.dtype).mean()
    push = ((outside.to(x.dtype) - (1 - share)) / share.clamp_min(LEAST_SHARE)) * sound
    log_q = flow.log_prob(torch.where(_wide(sound, x), x, 0.0))
    moved = push * log_q
    return moved - moved.detach()


def _along(x: Tensor, direction: Tensor, value: Tensor) -> Tensor:
    """A loss of that value whose gradient is direction · ∂x."""
    moved = (x * direction).flatten(1).sum(1)
    return value + (moved - moved.detach())


def _log_mean_exp(log_w: Tensor) -> Tensor:
    return log_w.logsumexp(1) - torch.tensor(float(log_w.shape[1])).log()
