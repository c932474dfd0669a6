"""Markov chains in the latent space of a flow: they mend what the flow got wrong, at the price of
evaluations.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ...bases.base import uniform
from ...core.errors import ConfigError, ContextError, ExactnessError, InferenceError
from ...core.streams import Stream, generator_for
from ...flow import Flow
from ..target.density import LogDensity, State, choose, evaluate, log_density_at
from .convergence import ess_bulk, ess_tail, rhat
from .hmc import Move, StepSize, hmc_move, metropolis

__all__ = ["Chains", "latent_chains"]

TRIES = 50  # rounds of draws, to find points of positive density to start from
MOST_LEAPFROGS = 32
MOST_RHAT = 1.01  # Vehtari et al. 2021, §4
LEAST_ESS = 400.0  # the same
Progress = Callable[[int, float], None]
ROWS = 65_536  # decoded in one pass


@dataclass(frozen=True)
class Chains:
    """Draws of Markov chains, and whether they have converged. Vectors run over the entries of an
    event, flattened.
    """

    samples: Tensor
    """(C, N, *event), in the target's own coordinates."""
    rhat: Tensor
    ess_bulk: Tensor
    """Draws that these are worth for means, of C N; `ess_tail` for 5 % and 95 % quantiles."""
    ess_tail: Tensor
    independent_acceptance: float
    """Share of accepted proposals from the flow: 1 for a perfect flow."""
    local_acceptance: float
    """Mean acceptance probability of the Hamiltonian moves; NaN without them."""
    step_size: float
    """The longest that Hamiltonian moves took, in units of the latents."""
    divergences: int
    """Hamiltonian trajectories after the warm-up whose energy ran away: parts of the target were
    too steep to enter.
    """
    evaluations: int
    """Of the target, in rows, warm-up included."""
    complete: bool
    """False when the deadline came first."""

    def verdict(self) -> tuple[bool, list[str]]:
        """Have the chains converged, and if not, why, in words."""
        reasons = []
        if not bool((self.rhat <= MOST_RHAT).all()):
            reasons.append(
                f"R-hat is {_worst(self.rhat, 'max'):.3f}, above {MOST_RHAT}: the chains disagree"
            )
        least = torch.minimum(self.ess_bulk, self.ess_tail)
        if not bool((least >= LEAST_ESS).all()):
            reasons.append(
                f"the effective sample size is {_worst(least, 'min'):.0f}, below {LEAST_ESS:.0f}:"
                " run longer chains"
            )
        return not reasons, reasons


def latent_chains(
    target: LogDensity,
    flow: Flow,
    *,
    chains: int = 64,
    steps: int = 1000,
    warmup: int = 500,
    seed: int = 0,
    generator: torch.Generator | None = None,
    local: float = 1.5,
    deadline: float | None = None,
    progress: Callable[[int, float], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Chains:
    """Markov chains for an unnormalised log density `target` (B, *event) -> (B,), run where the
    flow makes it simple.

    The chains live on latents z, with the density p̃(u) |det ∂u/∂z| of u = decode(z), which is the
    base's where the flow is right. An iteration is two moves: a proposal drawn from the flow,
    whatever the present state, which crosses between modes; and a Hamiltonian one along the
    gradient, which goes where the flow hardly does. `local` is the mean length of the latter's
    trajectories (latents have spread 1, so π/2 is a quarter turn), 0 leaves them out. The step size
    is set in the `warmup`, whose states are not kept, to an acceptance of 0.8; steps and lengths
    are jittered, and where most trajectories leave the support they are shortened. `progress` is
    called with the number of every iteration and the share of proposals accepted. No iteration
    begins after `deadline`, in seconds of `time.monotonic()`, or once `should_stop()` is true, but
    one state is always kept; the warm-up gets its share of the time. Random numbers come from
    `generator`, or one made from `seed`.

    Raises `ConfigError` on counts below one, `ContextError` for a conditional flow,
    `ExactnessError` for one that dequantises, `ShapeError` when the target is not (B,), and
    `InferenceError` when it is zero wherever the flow draws. NeuTra: Hoffman et al. 2019,
    arXiv:1903.03704; mixing with the flow's own proposals: Gabrié et al. 2022, arXiv:2105.12603.

    >>> import diffeo
    >>> flow = diffeo.Flow(diffeo.Chain([diffeo.layers.Permute([1, 0])]), diffeo.bases.Normal(2))
    >>> normal = lambda u: -0.5 * ((u - 1) / 2).square().sum(1)
    >>> chains = latent_chains(normal, flow, chains=16, steps=200, warmup=100)
    >>> chains.samples.shape, bool((chains.rhat < 1.05).all())
    (torch.Size([16, 200, 2]), True)
    """
    _check_counts(chains=chains, steps=steps, warmup=warmup)
    _check_flow(flow)
    if not (math.isfinite(local) and local >= 0):
        raise ConfigError(f"local is the length of trajectories, 0 or more, got {local}")
    generator = generator or generator_for(seed, Stream.CHAINS)
    with _evaluating(flow):
        sampler = _Sampler(
            flow,
            _LatentDensity(target, flow),
            chains=chains,
            generator=generator,
            local=local,
            progress=progress,
            should_stop=should_stop,
        )
        complete = sampler.run(warmup, steps, math.inf if deadline is None else deadline)
        samples = _decode(flow, torch.stack(sampler.kept, 1))
    flat = samples.flatten(2)
    moves = max(1, sampler.iterations)
    return Chains(
        samples=samples,
        rhat=rhat(flat),
        ess_bulk=ess_bulk(flat),
        ess_tail=ess_tail(flat),
        independent_acceptance=sampler.independent / moves,
        local_acceptance=sampler.near / moves if local else math.nan,
        step_size=min(sampler.step_size.settled, sampler.length) if local else math.nan,
        divergences=sampler.divergences,
        evaluations=sampler.density.evaluations,
        complete=complete,
    )


class _LatentDensity:
    """log p̃(decode(z)) + log|det ∂decode/∂z|, counting; rows that do not decode to numbers are
    never shown to the target.
    """

    def __init__(self, target: LogDensity, flow: Flow) -> None:
        self.target = target
        self.flow = flow
        self.evaluations = 0

    def __call__(self, z: Tensor) -> Tensor:
        u, logdet = self.flow.decode(z)
        sound = (u.flatten(1).isfinite().all(1) & logdet.isfinite()).nonzero().squeeze(1)
        if len(sound) < len(z):
            u = u[sound]
            logdet = logdet[sound]
        self.evaluations += len(sound)
        log_p = logdet.double()
        if len(sound):
            log_p = log_p + log_density_at(self.target, u).double()
        return torch.full((len(z),), -math.inf, dtype=torch.float64, device=z.device).index_put(
            (sound,), log_p
        )


class _Sampler:
    """The state of all chains and what is known of their moves so far."""

    def __init__(
        self,
        flow: Flow,
        density: _LatentDensity,
        *,
        chains: int,
        generator: torch.Generator,
        local: float,
        progress: Progress | None,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        self.base = flow.base
        self.density = density
        self.generator = generator
        self.local = local
        self.length = local
        self.progress = progress
        self.should_stop = should_stop
        self.done = 0
        self.step_size = StepSize(prod(flow.base.event_shape) ** -0.25)
        self.state = self._start(chains)
        self.kept: list[Tensor] = []
        self._reset_counts()

    def run(self, warmup: int, steps: int, deadline: float) -> bool:
        """False when the deadline ended the warm-up or the chains early."""
        now = time.monotonic()
        half = now + (deadline - now) * warmup / (warmup + steps)
        warm = self._repeat(warmup, half)
        self.step_size.value = self.step_size.settled
        self._reset_counts()
        self._iterate()
        self.kept.append(self.state.z)
        return self._repeat(steps - 1, deadline, keep=True) and warm

    def _repeat(self, count: int, deadline: float, keep: bool = False) -> bool:
        for _ in range(count):
            if time.monotonic() > deadline or (self.should_stop is not None and self.should_stop()):
                return False
            self._iterate(adapt=not keep)
            if keep:
                self.kept.append(self.state.z)
        return True

    def _reset_counts(self) -> None:
        self.iterations = 0
        self.independent = 0.0
        self.near = 0.0
        self.divergences = 0

    def _iterate(self, adapt: bool = False) -> None:
        self.iterations += 1
        self.done += 1
        self._propose()
        if self.progress is not None:
            self.progress(self.done, self.independent / self.iterations)
        if self.length > 0:
            move = self._move()
            if adapt:
                self._adapt(move)

    def _propose(self) -> None:
        """Independent Metropolis with draws of the flow: accept by the ratio of importance
        weights.
        """
        new = evaluate(self.density, self._draw(len(self.state.z)))
        accepted, _ = metropolis(self._weight(new) - self._weight(self.state), self.generator)
        self.state = choose(accepted, new, self.state)
        self.independent += float(accepted.double().mean())

    def _move(self) -> Move:
        """Hamiltonian, by steps between half and all of the step size, for half to one and a half
        times the usual length.
        """
        like = self.state.log_p
        step = min(self.step_size.value, self.length)
        factor = 0.5 + uniform((1,), like, self.generator).item()
        leapfrogs = min(max(round(factor * self.length / (0.75 * step)), 1), MOST_LEAPFROGS)
        steps = step * (1 - 0.5 * uniform(like.shape, like, self.generator))
        move = hmc_move(
            self.density,
            self.state,
            step_size=steps,
            leapfrogs=leapfrogs,
            generator=self.generator,
        )
        self.state = move.state
        self.near += float(move.probability.mean())
        self.divergences += int(move.diverged.sum())
        return move

    def _adapt(self, move: Move) -> None:
        """Trajectories that end outside the support are too long, whatever their steps, which the
        others have to judge.
        """
        outside = float(move.outside.double().mean())
        self.length = self.length * 0.9 if outside > 0.5 else min(self.length * 1.1, self.local)
        if outside < 1:
            self.step_size.update(float(move.probability[~move.outside].mean()))

    @torch.no_grad()
    def _weight(self, state: State) -> Tensor:
        return state.log_p - self.base.log_prob(state.z).double()

    def _draw(self, count: int) -> Tensor:
        return self.base.sample((count,), generator=self.generator)

    def _start(self, chains: int) -> State:
        """Draws of the flow where the target is positive; where that takes too long, some of them
        twice.
        """
        state = evaluate(self.density, self._draw(chains))
        for _ in range(TRIES):
            bad = state.log_p == -math.inf
            if not bad.any():
                return state
            state = choose(bad, evaluate(self.density, self._draw(chains)), state)
        good = (state.log_p > -math.inf).nonzero().squeeze(1)
        if not len(good):
            raise InferenceError(
                f"the log density is -inf or not a number at all of {chains * (TRIES + 1)} draws of"
                " the flow: train it longer, or look at the target's support"
            )
        rows = good[torch.arange(chains, device=good.device) % len(good)]
        return State(*(part[rows] for part in state))


def _check_counts(*, chains: int, steps: int, warmup: int) -> None:
    if chains < 1 or steps < 1 or warmup < 0:
        raise ConfigError(
            f"chains and steps must be at least 1 and warmup at least 0, got {chains}, {steps} and"
            f" {warmup}"
        )


def _check_flow(flow: Flow) -> None:
    if flow.context_shape is not None:
        raise ContextError("chains need one density: pass a flow without context")
    if not flow.exact:
        raise ExactnessError(
            "this flow dequantises, so its latents are no change of variables: chains cannot use it"
        )


@contextmanager
def _evaluating(flow: Flow) -> Iterator[None]:
    was = flow.training
    flow.eval()
    try:
        yield
    finally:
        flow.train(was)


@torch.no_grad()
def _decode(flow: Flow, z: Tensor) -> Tensor:
    """(C, N, *latent event) -> (C, N, *event)."""
    rows = torch.cat([flow.decode(part)[0] for part in z.flatten(0, 1).split(ROWS)])
    return rows.view(*z.shape[:2], *flow.event_shape)


def _worst(values: Tensor, side: str) -> float:
    """The largest or smallest; NaN when one is unknown."""
    return float(values.max() if side == "max" else values.min())
