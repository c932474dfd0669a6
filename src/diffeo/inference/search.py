"""The attempts of `infer`, in order, each judged by more than its own weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ..core.streams import Stream, generator_for
from ..flow import Flow
from ..training import Progress
from .chains.mcmc import Chains, latent_chains
from .fitting.build import maxima_describe_target
from .fitting.fitting import Fitting, Result
from .modes.laplace import Laplace
from .modes.survey import agreement
from .objectives.divergences import ReverseKL
from .posterior import Attempt, Posterior
from .target.target import Target
from .weights.bridge import bridge
from .weights.diagnostics import MOST_LOST, Diagnostics, verdict

__all__ = ["EFFORTS", "Effort", "Search"]

Effort = Literal["auto", "flow", "particles", "annealed", "fab", "mcmc"]
EFFORTS: tuple[Effort, ...] = get_args(Effort)
STATES = 500  # of each Markov chain
WARMUP = 250  # states before them
NEAR = 3.0  # standard deviations per dimension within which a chain has visited a maximum
MOST_OFF = 0.2  # standard deviations between means of chains and of reference draws
PROBES = 64  # points around each maximum that a flow must not miss
MISSED = 10.0  # nats that such points' weights lie above the average weight when it does
SLIGHT = 20.0  # nats below the largest: maxima of so little mass do not count


@dataclass(kw_only=True)
class Search:
    """The attempts so far, and the best of them."""

    fitting: Fitting
    progress: Callable[[Progress], None] | None = None
    only: bool = False
    """Is one attempt all that was asked for? Then its result is returned, trusted or not."""
    minutes: float = math.inf
    """The limit of the search, for words."""
    limit_is_default: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    best: Result | None = None

    def plan(self) -> tuple[Effort, ...]:
        """The attempts that are worth their time, in order."""
        survey = self.fitting.survey
        settings = self.fitting.settings
        if not survey.complete:
            return ("flow", "mcmc")
        chosen = isinstance(settings.model, Flow) or settings.objective is not ReverseKL
        if chosen or maxima_describe_target(survey):
            return ("flow", "particles", "mcmc")
        return ("particles", "annealed", "mcmc")

    def attempt(self, name: Effort) -> bool:
        """Make one attempt; True when it passed all diagnostics."""
        start = time.monotonic()
        evaluations = self.fitting.target.evaluations
        result = self._chains() if name == "mcmc" else self._flow(name)
        if self.fitting.limits.stopped():
            result.reasons.append("it was stopped by a signal")
        self.attempts.append(
            Attempt(
                name=name,
                trusted=result.trusted,
                reasons=result.reasons,
                diagnostics=result.diagnostics,
                steps=int(result.history[-1]["step"]) if result.history else 0,
                seconds=time.monotonic() - start,
                evaluations=self.fitting.target.evaluations - evaluations,
            )
        )
        if self._is_best(result):
            self.best = result
        return result.trusted

    def _is_best(self, result: Result) -> bool:
        """Of flows that failed the diagnostics the one with the tightest bound is the best: a lost
        mode costs it the logarithm of its mass.
        """
        if self.only or self.best is None or result.trusted:
            return True
        return result.diagnostics.iw_elbo > self.best.diagnostics.iw_elbo

    def posterior(self) -> Posterior:
        """The best result, with what was tried and counted."""
        result = self.best
        target = self.fitting.target
        assert result is not None
        failed = [
            f"{a.name}: {reason}" for a in self.attempts if not a.trusted for reason in a.reasons
        ]
        return Posterior(
            flow=result.flow,
            space=target.space,
            draws=result.draws,
            log_weights=result.log_weights,
            diagnostics=result.diagnostics,
            trusted=result.trusted,
            warnings=failed + self._time_limit_warning() + _target_warnings(target),
            attempts=self.attempts,
            counts=target.counts(),
            history=result.history,
            chains=result.chains,
            signum=self.fitting.limits.stop.signum,
        )

    def _time_limit_warning(self) -> list[str]:
        """Did the clock end the search, and whose limit was it?"""
        if not self.fitting.limits.late():
            return []
        default = ", the default of effort='auto': give minutes= for another"
        return [
            f"the limit of {self.minutes:.3g} minutes ended the search"
            f"{default if self.limit_is_default else ''}"
        ]

    def _flow(self, name: Effort) -> Result:
        settings = self.fitting.settings
        limits = self.fitting.limits
        result = self.fitting(name, settings.seed)
        repeats = [
            self.fitting(name, seed)
            for seed in range(settings.seed + 1, settings.seed + settings.repeats)
            if not limits.should_stop()
        ]
        if len(repeats) < settings.repeats - 1:
            result.reasons.append(
                f"the time was over after {1 + len(repeats)} of {settings.repeats} repeats"
            )
        if repeats:
            _, reasons = verdict(result.diagnostics, repeats=[r.diagnostics for r in repeats])
            result.reasons += [reason for reason in reasons if reason not in result.reasons]
        if missed := self._missed(result):
            result.reasons.append(missed)
        if result.diagnostics.beyond is not None and result.diagnostics.beyond > MOST_LOST:
            # What the held-out particles have shown is known now: others take their place.
            self.fitting.survey.temper(self.fitting.target, limits.should_stop)
        return result

    @torch.no_grad()
    def _missed(self, result: Result) -> str | None:
        """Maxima of the log density where the flow has next to nothing: reverse KL drops modes, and
        its weights do not tell.
        """
        generator = generator_for(self.fitting.settings.seed, Stream.MODES)
        maxima = self._maxima_with_mass()
        for maximum in maxima:
            u = maximum.sample(PROBES, generator)
            log_w = self.fitting.weighting.log_weights(result.flow, u)
            above = float(log_w.median()) - result.diagnostics.log_z
            if above > MISSED:
                return (
                    f"a mode is lost: around one of {len(maxima)} maxima weights are e^{above:.0f}"
                    " times their average"
                )
        return None

    def _chains(self) -> Result:
        if self.best is None:  # a flow for the chains to start from
            self.attempt("flow")
        best = self.best
        assert best is not None
        limits = self.fitting.limits
        chains = latent_chains(
            self.fitting.target,
            best.flow,
            steps=STATES,
            warmup=WARMUP,
            seed=self.fitting.settings.seed,
            deadline=self.fitting.until(best.flow),
            progress=self._chain_progress(),
            should_stop=limits.stopped,
        )
        limits.exceeded |= not chains.complete and not limits.stopped()
        reasons = [*chains.verdict()[1], *self._unvisited(chains.samples)]
        draws = chains.samples.flatten(0, 1).cpu()
        figures = self._bridged(best, chains)
        reasons += agreement(self.fitting.survey, figures.log_z, figures.log_z_se)
        return Result(
            flow=best.flow,
            draws=draws,
            log_weights=torch.full((len(draws),), -math.log(len(draws)), dtype=torch.float64),
            diagnostics=figures,
            reasons=reasons,
            history=best.history,
            chains=chains,
        )

    def _chain_progress(self) -> Callable[[int, float], None] | None:
        progress = self.progress
        if progress is None:
            return None
        start = time.monotonic()

        def report(step: int, accepted: float) -> None:
            progress(
                Progress(
                    step=step,
                    fraction=step / (STATES + WARMUP),
                    loss=0.0,
                    valid=None,
                    seconds=time.monotonic() - start,
                    note=f"chains: {accepted:.0%} of proposals accepted",
                )
            )

        return report

    @torch.no_grad()
    def _bridged(self, best: Result, chains: Chains) -> Diagnostics:
        """The flow's figures, but for log Z, which is estimated by a bridge between the chains and
        the flow.
        """
        fitting = self.fitting
        generator = generator_for(fitting.settings.seed, Stream.BRIDGE)
        _, of_q = fitting.weighting.draw(best.flow, generator)
        states = chains.samples.flatten(0, 1)
        of_p = fitting.weighting.log_weights(best.flow, states).view(chains.samples.shape[:2])
        value, error = bridge(of_p, of_q)
        if fitting.survey.complete:
            error = math.hypot(error, 1 / fitting.survey.lineages)
        return replace(best.diagnostics, log_z=value, log_z_se=error)

    def _unvisited(self, samples: Tensor) -> list[str]:
        """Maxima that no chain came near, and reference draws that lie elsewhere: chains agree with
        each other all the same.
        """
        x = samples.flatten(0, 1).double().cpu()
        reasons = []
        maxima = self._maxima_with_mass()
        far = sum(float(m.distance(x).min()) > NEAR * math.sqrt(x.shape[1]) for m in maxima)
        if far:
            reasons.append(
                f"a mode is lost: the chains never came near {far} of {len(maxima)} maxima"
            )
        survey = self.fitting.survey
        if survey.complete:
            particles = survey.held_out.particles.flatten(0, 1)
            reasons += _means_differ(
                x,
                particles,
                independent=survey.held_out.lineages,
                name="the particles of tempering",
            )
        reference = self.fitting.weighting.reference
        if reference is not None:
            reasons += _means_differ(
                x, reference.double(), independent=len(reference), name="the reference draws"
            )
        return reasons

    def _maxima_with_mass(self) -> list[Laplace]:
        """The proper maxima that have a mass to speak of."""
        maxima = self.fitting.survey.maxima
        floor = max((m.log_z for m in maxima), default=0.0) - SLIGHT
        return [m for m in maxima if m.proper and m.log_z > floor]


def _means_differ(x: Tensor, known: Tensor, *, independent: int, name: str) -> list[str]:
    """Are the means of chains (N, D) away from those of draws (M, D) that are worth so many
    independent ones?
    """
    off = float(((x.mean(0) - known.mean(0)) / known.std(0)).abs().max())
    if off <= MOST_OFF + 4 / math.sqrt(independent):
        return []
    return [f"the mean of the chains is {off:.2f} standard deviations from that of {name}"]


def _target_warnings(target: Target) -> list[str]:
    """What the log density did wrong, as far as it was no error."""
    warnings = []
    if target.nan_rows:
        warnings.append(
            f"the log density was NaN at {target.nan_rows:,} of {target.evaluations:,} points,"
            " which count as zero density"
        )
    if target.mode == "rows":
        warnings.append(
            "the log density was called point by point, which is slow: write it for batches"
        )
    return warnings
