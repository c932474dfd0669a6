"""`infer`: from a log density to a posterior, trying harder until the result can be trusted."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.errors import ConfigError
from ..core.seeds import seeded
from ..flow import Flow
from ..training import Progress
from ..training.fit import lines
from ..training.lock import locked
from ..training.sampler import mix
from ..training.signals import stop_on_signals
from .diagnostics import verdict
from .fitting import MODELS, Fitting, Found, Settings
from .laplace import laplace
from .mcmc import STEPS, WARMUP, latent_chains
from .objectives import ReverseKL, VariationalObjective
from .posterior import Attempt, Posterior
from .space import Space
from .target import Target

__all__ = ["infer"]

Effort = Literal["auto", "flow", "annealed", "fab", "mcmc"]
ORDER: tuple[Effort, ...] = ("flow", "annealed", "fab", "mcmc")
ITERATIONS = WARMUP + STEPS  # of Markov chains
PROBES = 64  # points around each maximum that a flow must not miss
MISSED = 10.0  # nats that such points' weights lie above the average weight when it does
SLIGHT = 20.0  # nats below the largest: maxima of so little mass do not count


def infer(
    log_density: Callable[..., Tensor],
    event_shape: int | Sequence[int] | Mapping[str, Any],
    *,
    support: Any = None,
    effort: Effort = "auto",
    model: Literal["nsf", "realnvp"] | Flow = "nsf",
    layers: int = 6,
    hidden: Sequence[int] = (64, 64),
    objective: Callable[[Flow, Target], VariationalObjective] = ReverseKL,
    steps: int = 2_000,
    batch_size: int = 256,
    lr: float = 2e-3,
    samples: int = 10_000,
    repeats: int = 1,
    reference: Any = None,
    scale: float = 1.0,
    minutes: float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool | Callable[[Progress], None] = False,
) -> Posterior:
    """Draws from p(x) = p̃(x) / Z, log Z with its error, and a verdict, from `log_density` = log p̃ alone.

    `log_density` takes a batch of values, a tensor (B, \\*event) or with named parameters a dict of tensors, and returns
    (B,); `event_shape` and `support` are those of `Space.of`. A flow over unconstrained coordinates is fitted by
    reverse Kullback-Leibler divergence with path gradients, and its draws are weighted by p̃/q. While the verdict is
    not to trust them, `effort="auto"` goes on; any other `effort` is that one alone:

    * "flow": starts from Laplace's approximation, or a mixture of them where the climbs from N(0, `scale`²) end in
      several maxima and find them all; else from N(0, `scale`²) through tempered targets.
    * "annealed": from N(0, `scale`²) through tempered targets, more layers, twice the steps.
    * "fab": goes on from the annealed flow, bootstrapping annealed importance sampling.
    * "mcmc": Markov chains in the latent space of the best flow so far.

    The posterior tells what was tried. `model` may be a flow of your own over the unconstrained coordinates: a copy of
    it is trained, in "flow" without tempering. `objective` makes another objective of flow and target, such as
    `lambda f, p: AlphaDivergence(f, p, 0.5)`. `repeats` flows are fitted from other seeds and must agree about log Z;
    `reference`, draws of the posterior from elsewhere, gives an upper bound on log Z and shows modes that are
    missing. `minutes` ends the search. With `out`, attempts leave checkpoints there, and `resume` goes on from them; a
    first SIGINT or SIGTERM saves and returns what there is, not to be trusted.

    Raises `InferenceError` when the log density cannot be used, `ConfigError` on wrong settings, `CheckpointError` when
    `out` is in use or of another log density or other settings.

    >>> import torch, diffeo
    >>> posterior = diffeo.infer(lambda x: -0.5 * ((x - 3) / 2).square().sum(1), 2, steps=100, samples=2000)
    >>> posterior.trusted, round(posterior.log_z, 1)
    (True, 3.2)
    """
    if effort != "auto" and effort not in ORDER:
        raise ConfigError(f"unknown effort {effort!r}: use auto, {', '.join(ORDER)}")
    if isinstance(model, str) and model not in MODELS:
        raise ConfigError(f"unknown model {model!r}: use one of {', '.join(MODELS)}, or give a flow")
    if repeats < 1:
        raise ConfigError(f"repeats must be at least 1, got {repeats}")
    target = Target(log_density, Space.of(event_shape, support))
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    chosen = Settings(model, layers, tuple(hidden), objective, steps, batch_size, lr, samples, repeats, scale, seed, deadline)
    known = None if reference is None else target.space.unconstrain(reference)
    folder = None if out is None else Path(out)
    tell = progress if callable(progress) else lines() if progress else None
    guard = contextlib.nullcontext() if folder is None else locked(folder)
    with seeded(seed), stop_on_signals() as stop, guard:
        target.check(torch.Generator().manual_seed(mix(seed, 10)))
        maxima = laplace(target, target.space.size, scale=scale, seed=seed)
        search = _Search(Fitting(target, chosen, maxima, known, folder, resume, tell, stop))
        for name in ORDER if effort == "auto" else (effort,):
            if search.attempt(name) or search.over:
                break
    return search.posterior()


@dataclass
class _Search:
    """The attempts so far, and the best of them."""

    fitting: Fitting
    attempts: list[Attempt] = field(default_factory=list)
    best: Found | None = None

    @property
    def over(self) -> bool:
        return self.fitting.stop.signum is not None or time.monotonic() >= self.fitting.settings.deadline

    def attempt(self, name: Effort) -> bool:
        """Try one thing; True when its result is to be trusted."""
        target = self.fitting.target
        start, before = time.monotonic(), target.evaluations
        found = self._chains() if name == "mcmc" else self._flow(name)
        seconds, calls = time.monotonic() - start, target.evaluations - before
        steps = int(found.history[-1]["step"]) if found.history else 0
        self.attempts.append(Attempt(name, found.trusted, found.reasons, found.diagnostics, steps, seconds, calls))
        if self.best is None or found.trusted or found.diagnostics.ess > self.best.diagnostics.ess:
            self.best = found
        return found.trusted

    def posterior(self) -> Posterior:
        found, target = self.best, self.fitting.target
        assert found is not None
        tried = [f"{a.name}: {reason}" for a in self.attempts if not a.trusted for reason in a.reasons]
        return Posterior(
            flow=found.flow,
            space=target.space,
            draws=found.draws,
            log_weights=found.log_weights,
            diagnostics=found.diagnostics,
            trusted=found.trusted,
            warnings=tried + _counted(target),
            attempts=self.attempts,
            counts=target.counts(),
            history=found.history,
            chains=found.chains,
            signum=self.fitting.stop.signum,
        )

    def _flow(self, name: Effort) -> Found:
        s = self.fitting.settings
        found, *others = [self.fitting(name, seed) for seed in range(s.seed, s.seed + s.repeats)]
        if others:
            _, reasons = verdict(found.diagnostics, repeats=[other.diagnostics for other in others])
            found.reasons += [reason for reason in reasons if reason not in found.reasons]
        if missed := self._missed(found):
            found.reasons.append(missed)
        if self.fitting.stop.signum is not None:
            found.reasons.append("training was stopped by a signal")
        found.trusted = not found.reasons
        return found

    @torch.no_grad()
    def _missed(self, found: Found) -> str | None:
        """Maxima of the log density where the flow has next to nothing: reverse KL drops modes, and its weights do not tell."""
        generator = torch.Generator().manual_seed(mix(self.fitting.settings.seed, 12))
        floor = max((m.log_z for m in self.fitting.maxima), default=0.0) - SLIGHT
        proper = [m for m in self.fitting.maxima if m.proper and m.log_z > floor]
        for maximum in proper:
            u = maximum.sample(PROBES, generator).to(found.flow.dtype)
            above = float(self.fitting.weights(found.flow, u).median()) - found.diagnostics.log_z
            if above > MISSED:
                return f"a mode is lost: around one of {len(proper)} maxima weights are e^{above:.0f} times their average"
        return None

    def _teller(self) -> Callable[[int, float], None] | None:
        tell, start = self.fitting.tell, time.monotonic()

        def told(step: int, accepted: float) -> None:
            assert tell is not None
            seconds = time.monotonic() - start
            tell(Progress(step, step / ITERATIONS, 0.0, None, seconds, note=f"chains: {accepted:.0%} of proposals accepted"))

        return None if tell is None else told

    def _chains(self) -> Found:
        best = self.best if self.best is not None else self._flow("flow")
        s = self.fitting.settings
        deadline = None if math.isinf(s.deadline) else s.deadline
        chains = latent_chains(self.fitting.target, best.flow, seed=s.seed, deadline=deadline, tell=self._teller())
        trusted, reasons = chains.verdict()
        draws = chains.samples.flatten(0, 1)
        equal = torch.full((len(draws),), -math.log(len(draws)), dtype=torch.float64)
        return Found(best.flow, draws, equal, best.diagnostics, trusted, reasons, best.history, chains)


def _counted(target: Target) -> list[str]:
    said = []
    if target.nan_rows:
        said.append(
            f"the log density was NaN at {target.nan_rows:,} of {target.evaluations:,} points, which count as zero density"
        )
    if target.mode == "rows":
        said.append("the log density was called point by point, which is slow: write it for batches")
    return said
