"""`infer`: from a log density to a posterior, trying harder until the result can be trusted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..core.chain import Chain
from ..core.errors import ConfigError
from ..core.seeds import seeded
from ..flow import Flow
from ..layers import Whiten
from ..models import nsf, realnvp
from ..training import Loop, LoopConfig, Progress
from ..training.sampler import mix
from .annealing import Annealed
from .diagnostics import Diagnostics, diagnose, lost_modes, verdict
from .fab import FAB
from .laplace import Laplace, laplace
from .mcmc import Chains, latent_chains
from .noise import NoiseBatches
from .objectives import ReverseKL, VariationalObjective
from .posterior import Attempt, Posterior
from .psis import smooth
from .space import Space
from .target import Target

__all__ = ["infer"]

Effort = Literal["auto", "flow", "annealed", "fab", "mcmc"]
ORDER: tuple[Effort, ...] = ("flow", "annealed", "fab", "mcmc")
MODELS = {"nsf": nsf, "realnvp": realnvp}
HELD_OUT = 1_024  # latents that weights are chosen on
ROWS = 8_192  # drawn in one pass
PROBES = 64  # points around each maximum that a flow must not miss
MISSED = 10.0  # nats that such points' weights lie above the average weight when it does
SLIGHT = 20.0  # nats below the largest: maxima of so little mass do not count


def infer(
    log_density: Callable[..., Tensor],
    event_shape: int | Sequence[int] | Mapping[str, Any],
    *,
    support: Any = None,
    effort: Effort = "auto",
    model: Literal["nsf", "realnvp"] = "nsf",
    layers: int = 6,
    hidden: Sequence[int] = (64, 64),
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
    progress: Callable[[Progress], None] | None = None,
) -> Posterior:
    """Draws from p(x) = p̃(x) / Z, log Z with its error, and a verdict, from `log_density` = log p̃ alone.

    `log_density` takes a batch of values, a tensor (B, \\*event) or with named parameters a dict of tensors, and returns
    (B,); `event_shape` and `support` are those of `Space.of`. A flow over unconstrained coordinates is fitted by
    reverse Kullback-Leibler divergence with path gradients, and its draws are weighted by p̃/q. While the verdict is
    not to trust them, `effort="auto"` goes on: "flow" starts from Laplace's approximation where there is one maximum,
    "annealed" from N(0, `scale`²) through tempered targets, with more layers, "fab" bootstraps annealed importance
    sampling, "mcmc" runs Markov chains in the latent space of the best flow. Any other `effort` is that one alone. The
    posterior tells what was tried. `repeats` flows are fitted from other seeds and must agree about log Z; `reference`,
    draws of the posterior from elsewhere, gives an upper bound on log Z and shows modes that are missing. `minutes`
    ends the search. With `out`, each attempt can be resumed.

    Raises `InferenceError` when the log density cannot be used, `ConfigError` on wrong settings.

    >>> import torch, diffeo
    >>> posterior = diffeo.infer(lambda x: -0.5 * ((x - 3) / 2).square().sum(1), 2, steps=100, samples=2000)
    >>> posterior.trusted, round(posterior.log_z, 1)
    (True, 3.2)
    """
    if effort != "auto" and effort not in ORDER:
        raise ConfigError(f"unknown effort {effort!r}: use auto, {', '.join(ORDER)}")
    if model not in MODELS:
        raise ConfigError(f"unknown model {model!r}: use one of {', '.join(MODELS)}")
    target = Target(log_density, Space.of(event_shape, support))
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    if repeats < 1:
        raise ConfigError(f"repeats must be at least 1, got {repeats}")
    settings = _Settings(model, layers, tuple(hidden), steps, batch_size, lr, samples, repeats, scale, seed, deadline)
    known = None if reference is None else target.space.unconstrain(reference)
    with seeded(seed):
        target.check(torch.Generator().manual_seed(mix(seed, 10)))
        search = _Search(target, settings, known, None if out is None else Path(out), resume, progress)
        for name in ORDER if effort == "auto" else (effort,):
            if search.attempt(name) or time.monotonic() >= deadline:
                break
    return search.posterior()


@dataclass(frozen=True)
class _Settings:
    model: str
    layers: int
    hidden: tuple[int, ...]
    steps: int
    batch_size: int
    lr: float
    samples: int
    repeats: int
    scale: float
    seed: int
    deadline: float


@dataclass
class _Found:
    """A fitted flow with weighted draws."""

    flow: Flow
    draws: Tensor
    log_weights: Tensor
    diagnostics: Diagnostics
    trusted: bool
    reasons: list[str]
    history: list[dict[str, Any]]
    chains: Chains | None = None


@dataclass
class _Search:
    """The attempts so far, and the best of them."""

    target: Target
    settings: _Settings
    reference: Tensor | None
    folder: Path | None
    resume: bool
    tell: Callable[[Progress], None] | None
    attempts: list[Attempt] = field(default_factory=list)
    best: _Found | None = None

    def __post_init__(self) -> None:
        s = self.settings
        self.maxima = laplace(self.target, self.target.space.size, scale=s.scale, seed=s.seed)

    def attempt(self, name: Effort) -> bool:
        """Try one thing; True when its result is to be trusted."""
        start, before = time.monotonic(), self.target.evaluations
        found = self._chains() if name == "mcmc" else self._flow(name)
        seconds, calls = time.monotonic() - start, self.target.evaluations - before
        steps = int(found.history[-1]["step"]) if found.history else 0
        self.attempts.append(Attempt(name, found.trusted, found.reasons, found.diagnostics, steps, seconds, calls))
        if self.best is None or found.trusted or found.diagnostics.ess > self.best.diagnostics.ess:
            self.best = found
        return found.trusted

    def posterior(self) -> Posterior:
        found = self.best
        assert found is not None
        tried = [f"{a.name}: {reason}" for a in self.attempts if not a.trusted for reason in a.reasons]
        return Posterior(
            flow=found.flow,
            space=self.target.space,
            draws=found.draws,
            log_weights=found.log_weights,
            diagnostics=found.diagnostics,
            trusted=found.trusted,
            warnings=tried + _counted(self.target),
            attempts=self.attempts,
            counts=self.target.counts(),
            history=found.history,
            chains=found.chains,
        )

    def _flow(self, name: Effort) -> _Found:
        seeds = range(self.settings.seed, self.settings.seed + self.settings.repeats)
        found, *others = [self._fitted(name, replace(self.settings, seed=seed)) for seed in seeds]
        if others:
            _, reasons = verdict(found.diagnostics, repeats=[other.diagnostics for other in others])
            found.reasons += [reason for reason in reasons if reason not in found.reasons]
        if missed := self._missed(found):
            found.reasons.append(missed)
        found.trusted = not found.reasons
        return found

    def _fitted(self, name: Effort, s: _Settings) -> _Found:
        flow = _build(self.target.space.size, s, more=0 if name == "flow" else 4)
        history = self._train(name, self._objective(name, flow, s), s)
        return self._weigh(flow, history, s)

    def _objective(self, name: Effort, flow: Flow, s: _Settings) -> VariationalObjective:
        if name == "fab":
            return FAB(flow, self.target, seed=s.seed)
        if name == "flow" and len(self.maxima) == 1 and self.maxima[0].proper:
            _place(flow, self.maxima[0])
            return ReverseKL(flow, self.target)
        return ReverseKL(flow, Annealed(self.target, scale=s.scale, slowest=2 / s.steps))

    def _train(self, name: str, objective: VariationalObjective, s: _Settings) -> list[dict[str, Any]]:
        batches = NoiseBatches(objective.flow.base, s.batch_size, s.seed)
        minutes = None if math.isinf(s.deadline) else max(1e-3, (s.deadline - time.monotonic()) / 60)
        config = LoopConfig(
            steps=s.steps if name == "flow" else 2 * s.steps,
            minutes=minutes,
            lr=s.lr,
            eval_every=max(1, s.steps // 20),
            patience=None,
            weight_decay=0.0,
            ema=0.99,
            seed=s.seed,
            eval_rows=ROWS,
        )
        place = name if s.seed == self.settings.seed else f"{name}-{s.seed}"
        folder = None if self.folder is None else self.folder / place
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        valid = batches.held_out(HELD_OUT)
        loop = Loop(objective.train(), batches, valid, config, folder=folder, tell=self.tell)
        loop.run(self.resume)
        return loop.diary.history

    @torch.no_grad()
    def _weigh(self, flow: Flow, history: list[dict[str, Any]], s: _Settings) -> _Found:
        generator = torch.Generator().manual_seed(mix(s.seed, 11))
        parts = [self._drawn(flow, n, generator) for n in _pieces(s.samples)]
        draws, log_w = (torch.cat(each) for each in zip(*parts, strict=True))
        known = None if self.reference is None else self._weights(flow, self.reference.to(flow.dtype))
        found = diagnose(log_w, known)
        trusted, reasons = verdict(found, log_w, lost=None if known is None else lost_modes(log_w, known))
        weights = smooth(log_w)[0] if bool(log_w.isfinite().any()) else torch.full_like(log_w, -math.log(len(log_w)))
        return _Found(flow, draws, weights, found, trusted, reasons, history)

    def _drawn(self, flow: Flow, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        u, log_q = flow.sample_and_log_prob((count,), generator=generator)
        return u, (self.target(u).double() - log_q.double())

    def _weights(self, flow: Flow, u: Tensor) -> Tensor:
        return self.target(u).double() - flow.log_prob(u).double()

    @torch.no_grad()
    def _missed(self, found: _Found) -> str | None:
        """Maxima of the log density where the flow has next to nothing: reverse KL drops modes, and its weights do not tell."""
        generator = torch.Generator().manual_seed(mix(self.settings.seed, 12))
        floor = max((m.log_z for m in self.maxima), default=0.0) - SLIGHT
        proper = [m for m in self.maxima if m.proper and m.log_z > floor]
        for maximum in proper:
            u = maximum.sample(PROBES, generator).to(found.flow.dtype)
            above = float(self._weights(found.flow, u).median()) - found.diagnostics.log_z
            if above > MISSED:
                return f"a mode is lost: around one of {len(proper)} maxima weights are e^{above:.0f} times their average"
        return None

    def _chains(self) -> _Found:
        best = self.best if self.best is not None else self._flow("flow")
        s = self.settings
        deadline = None if math.isinf(s.deadline) else s.deadline
        chains = latent_chains(self.target, best.flow, seed=s.seed, deadline=deadline)
        trusted, reasons = chains.verdict()
        draws = chains.samples.flatten(0, 1)
        equal = torch.full((len(draws),), -math.log(len(draws)), dtype=torch.float64)
        return _Found(best.flow, draws, equal, best.diagnostics, trusted, reasons, best.history, chains)


def _build(size: int, s: _Settings, more: int) -> Flow:
    """A flow over R^D behind a fixed linear map, which Laplace's approximation may set."""
    mixing = "lu" if size > 1 else "none"
    inner = MODELS[s.model]((size,), layers=s.layers + more, hidden=s.hidden, mixing=mixing, seed=s.seed)
    whiten = Whiten(size)
    whiten.place(torch.zeros(size), s.scale * torch.eye(size))
    assert isinstance(inner.transform, nn.Module)
    return Flow(Chain([whiten, inner.transform]), inner.base)


def _place(flow: Flow, maximum: Laplace) -> None:
    assert isinstance(flow.transform, Chain)
    whiten = flow.transform[0]
    assert isinstance(whiten, Whiten)
    whiten.place(maximum.mode, maximum.lower)


def _pieces(total: int) -> Iterator[int]:
    for start in range(0, total, ROWS):
        yield min(ROWS, total - start)


def _counted(target: Target) -> list[str]:
    said = []
    if target.nan_rows:
        said.append(
            f"the log density was NaN at {target.nan_rows:,} of {target.evaluations:,} points, which count as zero density"
        )
    if target.mode == "rows":
        said.append("the log density was called point by point, which is slow: write it for batches")
    return said
