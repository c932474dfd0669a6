"""One attempt: a flow built, trained, and its draws weighed."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad

from ..bases import Base, StudentT
from ..core.chain import Chain
from ..core.errors import ConfigError
from ..core.seeds import seeder
from ..core.streams import Stream, generator_for, mix
from ..flow import Flow
from ..layers import Flatten, Whiten
from ..models import SPECS
from ..runs import StopRequest, begin_run, fingerprint, recorded_settings
from ..training import Loop, LoopConfig, Progress
from .chains.mcmc import Chains
from .modes.laplace import MOST_MODES
from .modes.mixture import gaussian_of, mixture_of, weigh_modes
from .modes.survey import Survey, agreement
from .objectives.annealing import Annealed
from .objectives.divergences import Jeffreys, ReverseKL, VariationalObjective
from .objectives.fab import FAB
from .objectives.noise import NoiseBatches
from .target.target import Target
from .weights.diagnostics import Diagnostics, diagnose, elbo, gradient_snr, lost_modes, verdict
from .weights.psis import smooth

__all__ = ["Fitting", "Found", "Settings", "build"]

MORE = 4  # layers more where the target is no mixture of normals
# share of the particles that maxima have to account for, to be what a flow starts from
DESCRIBED = 0.7
TAILS = (2.0, 3.0, 5.0, 10.0)  # degrees of freedom of a base with heavy tails
HEAVY = 0.02  # nats per dimension by which Student's t must describe particles better than a normal
HELD_OUT = 1_024  # latents that weights are chosen on
ROWS = 8_192  # drawn in one pass
TIMED = 256  # draws, to know how long weighing will take
MOST_KEPT = 0.4  # of the time left, for weighing
# Evaluations, of 40, without a better ELBO after which a start from particles gives way to the next
# attempt: of funnels it gets worse and worse, and nothing but the time for the others is lost.
PATIENCE = 10
GRADIENTS = 8  # batches that signal and noise of the gradient are taken from
MOST_GRID = 0.01  # of a standard deviation between neighbouring numbers
PROBED = 16  # points that tell one log density from another on resume


@dataclass(frozen=True)
class Settings:
    """What the caller of `infer` chose."""

    model: str | Flow
    layers: int
    hidden: tuple[int, ...]
    objective: Callable[[Flow, Target], VariationalObjective]
    steps: int
    batch_size: int
    lr: float
    samples: int
    repeats: int
    scale: float
    seed: int
    deadline: float
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where flows are; points and weights that are kept are on the CPU."""


@dataclass
class Found:
    """A fitted flow with weighted draws."""

    flow: Flow
    draws: Tensor
    log_weights: Tensor
    diagnostics: Diagnostics
    reasons: list[str]
    history: list[dict[str, Any]]
    chains: Chains | None = None

    @property
    def trusted(self) -> bool:
        return not self.reasons


def build(
    size: int, s: Settings, survey: Survey, name: str, start: tuple[Tensor, Tensor] | None = None
) -> Flow:
    """A flow over R^D: that of the caller, or one behind a fixed linear map from which it starts.

    "flow" starts from Laplace's approximation, a mixture of them where there are several maxima, if
    these describe the target; "particles" with the moments of the particles, and heavy tails where
    they have them; "annealed", and "flow" where nothing is known, from N(0, scale²) or the mean
    (D,) and Cholesky factor (D, D) of `start`. All but the first have more layers.
    """
    if isinstance(s.model, Flow):
        return _over_vectors(copy.deepcopy(s.model), size)
    mixing = "lu" if size > 1 else "none"
    laplace = name == "flow" and describes(survey)
    layers = s.layers if laplace else s.layers + MORE
    spec = SPECS[s.model]
    inner = spec.build(
        (size,),
        layers=layers,
        hidden=s.hidden,
        mixing=mixing,
        seed=s.seed,
        **spec.recommended["posterior"],
    )
    base, whiten = inner.base, Whiten(size, data_dtype="float64")
    assert isinstance(base, Base)
    assert isinstance(inner.transform, nn.Module)
    if laplace:
        mean, lower = gaussian_of(survey.maxima)
        whiten.place(mean, lower)
        base = base if len(survey.maxima) == 1 else mixture_of(survey.maxima, mean, lower)
    elif name == "particles":
        draws = survey.draws()
        whiten.initialize(draws)
        base = _tails(whiten(draws)[0].double()) or base
    else:
        whiten.place(*(start or (torch.zeros(size), s.scale * torch.eye(size))))
    return Flow(Chain([whiten, inner.transform]), base)


def describes(survey: Survey) -> bool:
    """Do the maxima say what the target looks like?"""
    few = 0 < len(survey.maxima) <= MOST_MODES and all(m.proper for m in survey.maxima)
    return few and (survey.described >= DESCRIBED or not survey.complete)


def _tails(y: Tensor) -> Base | None:
    """Student's t that describes whitened particles (N, D) clearly better than a normal does, entry
    by entry.
    """
    size = y.shape[1]
    spread = y.abs().quantile(0.5, 0) / 0.6745
    normal = -0.5 * (y.square().mean() + math.log(2 * math.pi))
    best, gain = None, HEAVY
    for df in TAILS:
        scaled = y / spread
        base = StudentT((size,), df=df)
        found = float(base.log_prob(scaled).mean()) / size - float(spread.log().mean())
        if found - float(normal) > gain:
            best, gain = base, found - float(normal)
    return best


def _over_vectors(flow: Flow, size: int) -> Flow:
    if flow.context_shape is not None or not flow.exact:
        raise ConfigError("infer takes flows without context and without dequantisation")
    if prod(flow.event_shape) != size:
        raise ConfigError(
            f"the flow is of events {tuple(flow.event_shape)}, the space has {size} unconstrained"
            " coordinates"
        )
    if flow.event_shape == (size,):
        return flow
    return Flow(Chain([Flatten(flow.event_shape).inv, flow.transform]), flow.base)


@dataclass
class Fitting:
    """How attempts are made: the target, where their checkpoints go, who is told, and what asks
    them to stop.
    """

    target: Target
    settings: Settings
    survey: Survey
    reference: Tensor | None
    folder: Path | None
    resume: bool
    tell: Callable[[Progress], None] | None
    stop: StopRequest
    start: tuple[Tensor, Tensor] | None = None
    """Mean and Cholesky factor to begin from where maxima do not say enough, in place of N(0,
    scale²).
    """
    limited: bool = False
    """Has the limit of time cut anything short?"""
    tempered: dict[int, Flow] = field(default_factory=dict)
    """Flows that were annealed, by seed: what FAB goes on from."""

    def __call__(self, name: str, seed: int) -> Found:
        """Fit by "flow", "particles", "annealed" or "fab"."""
        s = replace(self.settings, seed=seed)
        flow, objective, steps = self._begin(name, s)
        history = self._train(name, objective, s, steps)
        if name == "annealed":
            self.tempered[seed] = copy.deepcopy(flow)
        generator = generator_for(s.seed, Stream.DRAWS)
        weigh_modes(flow, self.target, ROWS, generator)
        return self._weigh(flow, history, s, generator)

    def _begin(self, name: str, s: Settings) -> tuple[Flow, VariationalObjective, int]:
        if name == "fab":
            if s.seed not in self.tempered:
                self("annealed", s.seed)
            flow = copy.deepcopy(self.tempered[s.seed])
            return flow, FAB(flow, self.target, seed=s.seed), s.steps
        flow = build(self.target.space.size, s, self.survey, name, self.start).to(s.device)
        if name == "particles":
            return (
                flow,
                Jeffreys(flow, self.target, self.survey.draws(), seed=s.seed).to(s.device),
                s.steps,
            )
        plain = name == "flow" and (isinstance(s.model, Flow) or describes(self.survey))
        if plain:
            return flow, s.objective(flow, self.target), s.steps
        steps = s.steps if name == "flow" else 2 * s.steps
        annealed = Annealed(self.target, scale=s.scale, slowest=2 / steps)
        return flow, s.objective(flow, annealed), steps  # type: ignore[arg-type]

    def _train(
        self, name: str, objective: VariationalObjective, s: Settings, steps: int
    ) -> list[dict[str, Any]]:
        batches = NoiseBatches(objective.flow.base, s.batch_size, s.seed)
        left = self.until(objective.flow) - time.monotonic()
        minutes = None if math.isinf(left) else max(1e-3, left / 60)
        folder = self._place(name, s)
        before = recorded_settings(folder, resume=self.resume)
        config = LoopConfig(
            steps=steps,
            minutes=minutes,
            lr=s.lr,
            eval_every=before.get("eval_every", max(1, steps // 40)),
            patience=PATIENCE if name == "particles" else None,
            weight_decay=0.0,
            ema=0.99,
            seed=s.seed,
            eval_rows=ROWS,
        )
        # FAB is to cover what the ELBO does not ask for: its last weights are kept, not those of
        # the best ELBO.
        valid = None if isinstance(objective, FAB) else batches.held_out(HELD_OUT)
        if folder is not None:
            self._same(folder, s, config, objective)
        loop = Loop(
            objective.to(s.device).train(),
            batches,
            valid,
            config,
            folder=folder,
            stop=self.stop,
            tell=self._teller(name),
        )
        state = loop.run(self.resume)
        self.limited |= state.finished == "limit" and state.step < steps
        return loop.metrics.history

    def _place(self, name: str, s: Settings) -> Path | None:
        """The attempt's own folder."""
        if self.folder is None:
            return None
        folder = (
            self.folder
            / "attempts"
            / (name if s.seed == self.settings.seed else f"{name}-{s.seed}")
        )
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _same(
        self, folder: Path, s: Settings, config: LoopConfig, objective: VariationalObjective
    ) -> None:
        """Begin an attempt in its folder; a resumed one must be of the same log density and
        settings.
        """
        u = torch.randn(PROBED, self.target.space.size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            values = self.target(u)[:, None]
        plain = {k: v for k, v in vars(objective).items() if isinstance(v, (int, float, str))}
        model = (
            s.model
            if isinstance(s.model, str)
            else str([tuple(p.shape) for p in s.model.parameters()])
        )
        chosen = {
            "model": model,
            "layers": s.layers,
            "hidden": list(s.hidden),
            "objective": type(objective).__name__,
            **plain,
        }
        settings = asdict(config) | {"batch_size": s.batch_size, "scale": s.scale}
        begin_run(
            folder,
            resume=self.resume,
            data={"values of the log density": fingerprint(values)},
            recipe=chosen,
            settings=settings,
        )

    def _teller(self, name: str) -> Callable[[Progress], None] | None:
        tell = self.tell
        what = "cross-entropy" if name == "fab" else "−ELBO"
        return None if tell is None else lambda p: tell(replace(p, unit=f"nats of {what} ({name})"))

    @torch.no_grad()
    def _weigh(
        self, flow: Flow, history: list[dict[str, Any]], s: Settings, generator: torch.Generator
    ) -> Found:
        draws, log_w = self.draw(flow, generator)
        known = (
            None if self.reference is None else self.weights(flow, self.reference.to(flow.dtype))
        )
        found = replace(
            self._declared(diagnose(log_w, known), draws, log_w), gradient_snr=self._snr(flow, s)
        )
        lost = None if known is None else lost_modes(log_w, known)
        apart = agreement(self.survey, found.log_z, found.log_z_se)
        found = self._against_particles(flow, log_w, found)
        reasons = [*verdict(found, log_w, lost=lost)[1], *apart]
        if coarse := _too_narrow(draws):
            reasons.append(coarse)
        weights = (
            smooth(log_w)[0]
            if bool(log_w.isfinite().any())
            else torch.full_like(log_w, -math.log(len(log_w)))
        )
        return Found(flow, draws, weights, found, reasons, history)

    def _declared(self, found: Diagnostics, draws: Tensor, log_w: Tensor) -> Diagnostics:
        """With the ELBO of the flow cut to the declared region: its draws outside are none of it,
        and known to be so.
        """
        region, space = self.target.region, self.target.space
        parts = (
            (draws if region.inside is not None else draws[:0]).to(self.settings.device).split(ROWS)
        )
        inside = torch.cat([region.contains(space.constrain(u)[0]).cpu() for u in parts])
        if bool(inside.all()) or not bool(inside.any()):
            return found
        share = float(inside.double().mean())
        value, error = elbo(log_w[inside])
        lost = math.sqrt((1 - share) / (share * len(inside)))
        return replace(
            found,
            declared_share=1 - share,
            elbo=value + math.log(share),
            elbo_se=math.hypot(error, lost),
        )

    def _against_particles(self, flow: Flow, log_w: Tensor, found: Diagnostics) -> Diagnostics:
        """The share of the particles held apart that no draw's weight accounts for, and log Z's
        error with what that says.

        Mass that no particle met either may be missing besides: about one part in as many as there
        are lineages.
        """
        if not self.survey.complete:
            return found
        u = self.survey.held.particles.flatten(0, 1)
        share = lost_modes(log_w, torch.cat([self.weights(flow, part) for part in u.split(ROWS)]))
        missing = -math.log1p(-min(share, 1 - 1e-9))
        error = math.hypot(found.log_z_se, missing, 1 / self.survey.lineages)
        return replace(found, beyond=share, log_z_se=error)

    def stopped(self) -> bool:
        """Did a signal ask for a stop?"""
        return self.stop.signum is not None

    def over(self) -> bool:
        """Was a stop asked for, or has the time come?"""
        return self.stopped() or self.late()

    def late(self) -> bool:
        """Has the time come, or cut something short, to leave some for weighing draws?"""
        return self.limited or time.monotonic() >= self.settings.deadline

    @torch.no_grad()
    def until(self, flow: Flow) -> float:
        """When training or chains have to end for the draws to be weighed by the deadline, by the
        time that a few take.
        """
        s = self.settings
        if math.isinf(s.deadline):
            return s.deadline
        start = time.monotonic()
        u, _ = flow.sample_and_log_prob((TIMED,), generator=torch.Generator().manual_seed(0))
        self.target(u)
        now = time.monotonic()
        needed = (now - start) * s.samples / TIMED
        return s.deadline - min(needed, MOST_KEPT * max(0.0, s.deadline - now))

    @torch.no_grad()
    def draw(self, flow: Flow, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """As many draws of the flow as are asked for, and their log weights."""
        parts = []
        for start in range(0, self.settings.samples, ROWS):
            u, log_q = flow.sample_and_log_prob(
                (min(ROWS, self.settings.samples - start),), generator=generator
            )
            parts.append((u.cpu(), (self.target(u).double() - log_q.double()).cpu()))
        draws, log_w = (torch.cat(each) for each in zip(*parts, strict=True))
        return draws, log_w

    def weights(self, flow: Flow, u: Tensor) -> Tensor:
        """log p̃ − log q at points u (B, D), on the CPU."""
        return (self.target(u).double().to(u.device) - flow.log_prob(u).double().to(u.device)).cpu()

    def _snr(self, flow: Flow, s: Settings) -> float:
        """Signal to noise of the path gradient of the reverse divergence, over batches as in
        training.
        """
        objective = ReverseKL(flow, self.target).train()
        parameters = [p for p in flow.parameters() if p.requires_grad]
        batches = NoiseBatches(flow.base, s.batch_size, mix(s.seed, Stream.GRADIENTS))
        seeded = seeder(objective)
        rows = []
        for i in range(GRADIENTS if parameters else 0):
            with torch.enable_grad(), seeded(mix(s.seed, Stream.GRADIENTS, i)):
                grads = grad(objective(*batches.batch(i)).mean(), parameters, allow_unused=True)
            whole = [
                torch.zeros_like(p) if g is None else g
                for g, p in zip(grads, parameters, strict=True)
            ]
            rows.append(torch.cat([g.flatten() for g in whole]))
        objective.eval()
        return gradient_snr(torch.stack(rows)) if rows else math.nan


def _too_narrow(draws: Tensor) -> str | None:
    """Neighbouring numbers of the draws' dtype must lie well within a standard deviation."""
    x = draws.double()
    grid = torch.finfo(draws.dtype).eps * x.mean(0).abs() / x.std(0).clamp_min(1e-300)
    if float(grid.max()) <= MOST_GRID:
        return None
    i = int(grid.argmax())
    return (
        f"unconstrained coordinate {i} lies at {x[:, i].mean():.3g} ± {x[:, i].std():.1g}, too"
        f" narrow for {draws.dtype}: shift it"
    )
