"""One Hamiltonian move of many points at once, and the step size that it wants."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...bases.base import randn, uniform
from ...core.errors import ConfigError
from ...core.numerics import sum_event
from ..target.density import LogDensity, State, choose, evaluate

__all__ = ["Move", "StepSize", "hmc_move", "hmc_step", "leapfrog", "metropolis"]

DIVERGENT = 1000.0  # nats of energy error: the trajectory left what it was to follow (as in Stan)


class Move(NamedTuple):
    """Where a move led, and per row (B,): was it accepted, with what probability, did the
    trajectory diverge, or end outside.
    """

    state: State
    accepted: Tensor
    probability: Tensor
    diverged: Tensor
    outside: Tensor


def hmc_step(
    log_density: LogDensity,
    z: Tensor,
    *,
    step_size: Tensor | float,
    leapfrogs: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """One Hamiltonian Monte Carlo move that leaves `log_density` (B, *event) -> (B,) invariant,
    each row on its own.

    `step_size` is one number or (B,). Returns the points, which rows accepted, and the
    probabilities of that, both (B,). Costs `leapfrogs` + 1 evaluations with gradients, of which no
    graph is kept. Ends where the density is zero, NaN or infinite are rejected. Raises `ShapeError`
    when the density is not (B,). Neal 2011, arXiv:1206.1901.

    >>> g = torch.Generator().manual_seed(0)
    >>> normal = lambda z: -0.5 * z.square().sum(1)
    >>> z, accepted, chance = hmc_step(
    ...     normal, torch.zeros(1000, 2), step_size=0.9, leapfrogs=2, generator=g
    ... )
    >>> round(float(z.square().mean())), bool(chance.mean() > 0.8)
    (1, True)
    """
    move = hmc_move(
        log_density,
        evaluate(log_density, z),
        step_size=step_size,
        leapfrogs=leapfrogs,
        generator=generator,
    )
    return move.state.z, move.accepted, move.probability


def hmc_move(
    log_density: LogDensity,
    state: State,
    *,
    step_size: Tensor | float,
    leapfrogs: int,
    generator: torch.Generator,
) -> Move:
    """`hmc_step` from points that are evaluated already: one evaluation fewer, and it says which
    trajectories diverged.
    """
    if leapfrogs < 1:
        raise ConfigError(f"leapfrogs must be at least 1, got {leapfrogs}")
    momentum = randn(state.z.shape, state.z, generator)
    end, last, sound = leapfrog(
        lambda z: evaluate(log_density, z),
        state,
        momentum,
        step=_per_row(step_size, state.z),
        count=leapfrogs,
        force=lambda s: s.grad,
    )
    gain = (end.log_p - _kinetic(last)) - (state.log_p - _kinetic(momentum))
    accepted, probability = metropolis(torch.where(sound, gain, -math.inf), generator)
    outside = sound & (end.log_p == -math.inf)
    diverged = ~sound | ((gain < -DIVERGENT) & ~outside)
    return Move(choose(accepted, end, state), accepted, probability, diverged, outside)


def metropolis(log_ratio: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which rows of log_ratio (B,) accept, and with what probability; NaN (from nowhere to nowhere)
    is a refusal.
    """
    probability = (
        log_ratio.nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf).clamp_max(0.0).exp()
    )
    return uniform(probability.shape, probability, generator) < probability, probability


def leapfrog(
    evaluate: Callable[[Tensor], State],
    state: State,
    momentum: Tensor,
    *,
    step: Tensor,
    count: int,
    force: Callable[[State], Tensor],
    scale: Tensor | None = None,
) -> tuple[State, Tensor, Tensor]:
    """The end of a trajectory of `count` leapfrogs, its momentum, and which rows stayed finite all
    along; the others stop where they were.

    `step` broadcasts over points; with `scale`, L (D, D), points z (B, D) have the mass matrix
    (L Lᵀ)⁻¹: momenta move by Lᵀ · force and points by L · momentum.
    """
    sound = torch.ones(len(state.z), dtype=torch.bool, device=state.z.device)
    for _ in range(count):
        momentum = momentum + _times(0.5 * step * force(state), scale)
        z = state.z + _times(step * momentum, None if scale is None else scale.T)
        sound = sound & z.flatten(1).isfinite().all(1)
        state = evaluate(torch.where(sound.view(step.shape), z, state.z))
        momentum = momentum + _times(0.5 * step * force(state), scale)
    return state, momentum, sound


def _times(rows: Tensor, matrix: Tensor | None) -> Tensor:
    return rows if matrix is None else rows @ matrix


def _kinetic(momentum: Tensor) -> Tensor:
    return 0.5 * sum_event(momentum.double().square())


def _per_row(step_size: Tensor | float, z: Tensor) -> Tensor:
    step = torch.as_tensor(step_size, dtype=z.dtype, device=z.device).expand(len(z))
    return step.view(-1, *[1] * (z.dim() - 1))


@dataclass
class StepSize:
    """Dual averaging: steps that are accepted with probability `wanted`. Hoffman & Gelman 2014,
    arXiv:1111.4246, §3.2.

    >>> size = StepSize(1.0)
    >>> for _ in range(200):
    ...     size.update(math.exp(-size.value))  # accepted with probability exp(−step)
    >>> round(math.exp(-size.settled), 1)
    0.8
    """

    value: float
    wanted: float = 0.8

    def __post_init__(self) -> None:
        self.settled = self.value
        self._towards = math.log(10 * self.value)
        self._error = 0.0
        self._updates = 0

    def update(self, acceptance: float) -> None:
        """Take note of how often a step of `value` was accepted, and choose the next; `settled` is
        their average.
        """
        self._updates += 1
        m = self._updates
        self._error += (self.wanted - acceptance - self._error) / (m + 10)
        log_value = self._towards - math.sqrt(m) / 0.05 * self._error
        log_value = min(max(log_value, -30.0), 10.0)  # where nothing, or everything, is accepted
        share = m**-0.75
        self.settled = math.exp(share * log_value + (1 - share) * math.log(self.settled))
        self.value = math.exp(log_value)
