"""Attempts by name: what each of them starts from and which objective it trains."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from ...core.streams import Stream, generator_for
from ...flow import Flow
from ..chains.mcmc import Chains
from ..modes.mixture import weigh_modes
from ..modes.survey import Survey
from ..objectives.annealing import Annealed
from ..objectives.divergences import Jeffreys, VariationalObjective
from ..objectives.fab import FAB
from ..target.target import Target
from ..weights.diagnostics import Diagnostics
from .build import build, maxima_describe_target
from .limits import Limits
from .settings import Settings
from .training import AttemptTrainer
from .weighting import ROWS, Weighting

__all__ = ["Fitting", "Result"]


@dataclass(kw_only=True)
class Result:
    """A fitted flow with weighted draws, or with the draws of chains that start from it."""

    flow: Flow
    draws: Tensor
    log_weights: Tensor
    diagnostics: Diagnostics
    reasons: list[str]
    """Diagnostics that failed, in words."""
    history: list[dict[str, Any]]
    chains: Chains | None = None

    @property
    def trusted(self) -> bool:
        """Did all diagnostics pass?"""
        return not self.reasons


@dataclass(kw_only=True)
class Fitting:
    """Makes attempts, each by its name and a seed."""

    target: Target
    settings: Settings
    survey: Survey
    trainer: AttemptTrainer
    weighting: Weighting
    limits: Limits
    start: tuple[Tensor, Tensor] | None = None
    """Mean and Cholesky factor to begin from where maxima do not say enough, in place of N(0,
    scale²).
    """
    annealed: dict[int, Flow] = field(default_factory=dict)
    """Flows that were annealed, by seed: what FAB goes on from."""

    def __call__(self, name: str, seed: int) -> Result:
        """Fit by "flow", "particles", "annealed" or "fab"."""
        settings = replace(self.settings, seed=seed)
        flow, objective, steps = self._begin(name, settings)
        history = self.trainer.train(name, objective, settings, steps=steps, until=self.until(flow))
        if name == "annealed":
            self.annealed[seed] = copy.deepcopy(flow)
        generator = generator_for(seed, Stream.DRAWS)
        weigh_modes(flow, self.target, count=ROWS, generator=generator)
        weighted = self.weighting(flow, settings, generator)
        return Result(
            flow=flow,
            draws=weighted.draws,
            log_weights=weighted.log_weights,
            diagnostics=weighted.diagnostics,
            reasons=weighted.reasons,
            history=history,
        )

    def until(self, flow: Flow) -> float:
        """When training or chains have to end for the draws to be weighted by the deadline."""
        if math.isinf(self.limits.deadline):
            return self.limits.deadline
        return self.limits.reserve(self.weighting.seconds(flow))

    def _begin(self, name: str, settings: Settings) -> tuple[Flow, VariationalObjective, int]:
        """The flow, the objective and the number of steps."""
        if name == "fab":
            return self._begin_fab(settings)
        size = self.target.space.size
        flow = build(size, settings, self.survey, name=name, start=self.start).to(settings.device)
        if name == "particles":
            jeffreys = Jeffreys(flow, self.target, self.survey.draws(), seed=settings.seed)
            return flow, jeffreys.to(settings.device), settings.steps
        known = isinstance(settings.model, Flow) or maxima_describe_target(self.survey)
        if name == "flow" and known:
            return flow, settings.objective(flow, self.target), settings.steps
        steps = settings.steps if name == "flow" else 2 * settings.steps
        annealed = Annealed(self.target, scale=settings.scale, slowest=2 / steps)
        return flow, settings.objective(flow, annealed), steps  # type: ignore[arg-type]

    def _begin_fab(self, settings: Settings) -> tuple[Flow, VariationalObjective, int]:
        """FAB goes on from the annealed flow, which is fitted first where it was not."""
        if settings.seed not in self.annealed:
            self("annealed", settings.seed)
        flow = copy.deepcopy(self.annealed[settings.seed])
        return flow, FAB(flow, self.target, seed=settings.seed), settings.steps
