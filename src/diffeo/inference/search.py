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
from .fitting import Fitting, Found, describes
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
STATES, WARMUP = 500, 250  # of each Markov chain
NEAR = 3.0  # standard deviations per dimension within which a chain has seen a maximum
MOST_OFF = 0.2  # standard deviations between means of chains and of reference draws
PROBES = 64  # points around each maximum that a flow must not miss
MISSED = 10.0  # nats that such points' weights lie above the average weight when it does
SLIGHT = 20.0  # nats below the largest: maxima of so little mass do not count


@dataclass
class Search:
    """The attempts so far, and the best of them."""

    fitting: Fitting
    only: bool = False
    """Is one attempt all that was asked for? Then its result is returned, trusted or not."""
    minutes: float = math.inf
    """The limit of the search, for words."""
    limit_is_default: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    best: Found | None = None

    def plan(self) -> tuple[Effort, ...]:
        """The attempts that are worth their time, in order."""
        survey, s = self.fitting.survey, self.fitting.settings
        if not survey.complete:
            return ("flow", "mcmc")
        asked = isinstance(s.model, Flow) or s.objective is not ReverseKL
        return (
            ("flow", "particles", "mcmc")
            if asked or describes(survey)
            else ("particles", "annealed", "mcmc")
        )

    def attempt(self, name: Effort) -> bool:
        """Try one thing; True when its result is to be trusted."""
        target = self.fitting.target
        start, before = time.monotonic(), target.evaluations
        found = self._chains() if name == "mcmc" else self._flow(name)
        if self.fitting.stopped():
            found.reasons.append("it was stopped by a signal")
        seconds, calls = time.monotonic() - start, target.evaluations - before
        steps = int(found.history[-1]["step"]) if found.history else 0
        self.attempts.append(
            Attempt(name, found.trusted, found.reasons, found.diagnostics, steps, seconds, calls)
        )
        # Of flows that are not to be trusted the tightest bound is the best: a lost mode costs it
        # the logarithm of its mass.
        if (
            self.only
            or self.best is None
            or found.trusted
            or found.diagnostics.iw_elbo > self.best.diagnostics.iw_elbo
        ):
            self.best = found
        return found.trusted

    def posterior(self) -> Posterior:
        found, target = self.best, self.fitting.target
        assert found is not None
        tried = [
            f"{a.name}: {reason}" for a in self.attempts if not a.trusted for reason in a.reasons
        ]
        return Posterior(
            flow=found.flow,
            space=target.space,
            draws=found.draws,
            log_weights=found.log_weights,
            diagnostics=found.diagnostics,
            trusted=found.trusted,
            warnings=tried + self._ended() + _counted(target),
            attempts=self.attempts,
            counts=target.counts(),
            history=found.history,
            chains=found.chains,
            signum=self.fitting.stop.signum,
        )

    def _ended(self) -> list[str]:
        """Did the clock end the search, and whose limit was it?"""
        if not self.fitting.late():
            return []
        default = (
            ", the default of effort='auto': give minutes= for another"
            if self.limit_is_default
            else ""
        )
        return [f"the limit of {self.minutes:.3g} minutes ended the search{default}"]

    def _flow(self, name: Effort) -> Found:
        s = self.fitting.settings
        found = self.fitting(name, s.seed)
        others = [
            self.fitting(name, seed)
            for seed in range(s.seed + 1, s.seed + s.repeats)
            if not self.fitting.over()
        ]
        if len(others) < s.repeats - 1:
            found.reasons.append(
                f"the time was over after {1 + len(others)} of {s.repeats} repeats"
            )
        if others:
            _, reasons = verdict(found.diagnostics, repeats=[other.diagnostics for other in others])
            found.reasons += [reason for reason in reasons if reason not in found.reasons]
        if missed := self._missed(found):
            found.reasons.append(missed)
        if found.diagnostics.beyond is not None and found.diagnostics.beyond > MOST_LOST:
            # What the particles held apart have shown is known now: others take their place.
            self.fitting.survey.temper(self.fitting.target, self.fitting.over)
        return found

    @torch.no_grad()
    def _missed(self, found: Found) -> str | None:
        """Maxima of the log density where the flow has next to nothing: reverse KL drops modes, and
        its weights do not tell.
        """
        generator = generator_for(self.fitting.settings.seed, Stream.MODES)
        proper = self._heavy()
        for maximum in proper:
            u = maximum.sample(PROBES, generator)
            above = float(self.fitting.weights(found.flow, u).median()) - found.diagnostics.log_z
            if above > MISSED:
                return (
                    f"a mode is lost: around one of {len(proper)} maxima weights are e^{above:.0f}"
                    " times their average"
                )
        return None

    def _teller(self) -> Callable[[int, float], None] | None:
        tell, start = self.fitting.tell, time.monotonic()

        def told(step: int, accepted: float) -> None:
            assert tell is not None
            seconds = time.monotonic() - start
            tell(
                Progress(
                    step,
                    step / (STATES + WARMUP),
                    0.0,
                    None,
                    seconds,
                    note=f"chains: {accepted:.0%} of proposals accepted",
                )
            )

        return None if tell is None else told

    def _chains(self) -> Found:
        best = self.best if self.best is not None else self._begun()
        s = self.fitting.settings
        chains = latent_chains(
            self.fitting.target,
            best.flow,
            steps=STATES,
            warmup=WARMUP,
            seed=s.seed,
            deadline=self.fitting.until(best.flow),
            tell=self._teller(),
            over=self.fitting.stopped,
        )
        self.fitting.limited |= not chains.complete and not self.fitting.stopped()
        _, reasons = chains.verdict()
        reasons += self._unvisited(chains.samples)
        draws = chains.samples.flatten(0, 1).cpu()
        equal = torch.full((len(draws),), -math.log(len(draws)), dtype=torch.float64)
        figures = self._bridged(best, chains)
        reasons += agreement(self.fitting.survey, figures.log_z, figures.log_z_se)
        return Found(best.flow, draws, equal, figures, reasons, best.history, chains)

    def _begun(self) -> Found:
        """A flow for the chains to start from, which has to be tried first when nothing was."""
        self.attempt("flow")
        assert self.best is not None
        return self.best

    @torch.no_grad()
    def _bridged(self, best: Found, chains: Chains) -> Diagnostics:
        """The flow's figures, but log Z, which the chains know better."""
        fitting = self.fitting
        generator = generator_for(fitting.settings.seed, Stream.BRIDGE)
        _, of_q = fitting.draw(best.flow, generator)
        of_p = fitting.weights(best.flow, chains.samples.flatten(0, 1)).view(
            chains.samples.shape[:2]
        )
        value, error = bridge(of_p, of_q)
        if fitting.survey.complete:
            error = math.hypot(error, 1 / fitting.survey.lineages)
        return replace(best.diagnostics, log_z=value, log_z_se=error)

    def _unvisited(self, samples: Tensor) -> list[str]:
        """Maxima that no chain came near, and reference draws that lie elsewhere: chains agree with
        each other all the same.
        """
        x, reasons = samples.flatten(0, 1).double().cpu(), []
        maxima = self._heavy()
        far = sum(float(m.distance(x).min()) > NEAR * math.sqrt(x.shape[1]) for m in maxima)
        if far:
            reasons.append(
                f"a mode is lost: the chains never came near {far} of {len(maxima)} maxima"
            )
        if self.fitting.survey.complete:
            held = self.fitting.survey.held
            reasons += _elsewhere(
                x, held.particles.flatten(0, 1), held.lineages, "the particles of tempering"
            )
        if self.fitting.reference is not None:
            known = self.fitting.reference.double()
            reasons += _elsewhere(x, known, len(known), "the reference draws")
        return reasons

    def _heavy(self) -> list[Laplace]:
        """The proper maxima that have a mass to speak of."""
        maxima = self.fitting.survey.maxima
        floor = max((m.log_z for m in maxima), default=0.0) - SLIGHT
        return [m for m in maxima if m.proper and m.log_z > floor]


def _elsewhere(x: Tensor, known: Tensor, independent: int, what: str) -> list[str]:
    """Are the means of chains (N, D) away from those of draws (M, D) that are worth so many
    independent ones?
    """
    off = float(((x.mean(0) - known.mean(0)) / known.std(0)).abs().max())
    if off <= MOST_OFF + 4 / math.sqrt(independent):
        return []
    return [f"the mean of the chains is {off:.2f} standard deviations from that of {what}"]


def _counted(target: Target) -> list[str]:
    said = []
    if target.nan_rows:
        said.append(
            f"the log density was NaN at {target.nan_rows:,} of {target.evaluations:,} points,"
            " which count as zero density"
        )
    if target.mode == "rows":
        said.append(
            "the log density was called point by point, which is slow: write it for batches"
        )
    return said
