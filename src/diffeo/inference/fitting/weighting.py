"""Draws of a trained flow, their weights, and what these say of it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd import grad

from ...core.seeds import seeder
from ...core.streams import Stream, mix
from ...flow import Flow
from ..modes.survey import Survey, agreement
from ..objectives.divergences import ReverseKL
from ..objectives.noise import NoiseBatches
from ..target.target import Target
from ..weights.diagnostics import Diagnostics, diagnose, elbo, gradient_snr, lost_modes, verdict
from ..weights.psis import smooth
from .settings import Settings

__all__ = ["ROWS", "Weighted", "Weighting"]

ROWS = 8_192  # drawn in one pass
TIMED = 256  # draws, to know how long weighting will take
GRADIENTS = 8  # batches that signal and noise of the gradient are taken from
MOST_GRID = 0.01  # of a standard deviation between neighbouring numbers


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """Draws (N, D), normalised log weights (N,), figures, and the reasons against them."""

    draws: Tensor
    log_weights: Tensor
    diagnostics: Diagnostics
    reasons: list[str]


@dataclass(frozen=True, kw_only=True)
class Weighting:
    """Importance weights p̃/q of flows, and their diagnostics against what else is known."""

    target: Target
    samples: int
    """How many draws are made."""
    device: torch.device
    survey: Survey
    reference: Tensor | None
    """Draws (M, D) of the target from elsewhere."""

    @torch.no_grad()
    def __call__(self, flow: Flow, settings: Settings, generator: torch.Generator) -> Weighted:
        """Draw, weight and judge."""
        draws, log_w = self.draw(flow, generator)
        reference = None
        if self.reference is not None:
            reference = self.log_weights(flow, self.reference.to(flow.dtype))
        figures = self._within_region(diagnose(log_w, reference), draws, log_w)
        figures = replace(figures, gradient_snr=self._gradient_snr(flow, settings))
        lost = None if reference is None else lost_modes(log_w, reference)
        disagreement = agreement(self.survey, figures.log_z, figures.log_z_se)
        figures = self._against_particles(flow, log_w, figures)
        reasons = [*verdict(figures, log_w, lost=lost)[1], *disagreement]
        if narrow := _too_narrow(draws):
            reasons.append(narrow)
        return Weighted(
            draws=draws, log_weights=_normalised(log_w), diagnostics=figures, reasons=reasons
        )

    @torch.no_grad()
    def draw(self, flow: Flow, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """As many draws of the flow as are asked for, (N, D), and their log weights (N,)."""
        parts = []
        for start in range(0, self.samples, ROWS):
            count = min(ROWS, self.samples - start)
            u, log_q = flow.sample_and_log_prob((count,), generator=generator)
            parts.append((u.cpu(), (self.target(u).double() - log_q.double()).cpu()))
        draws, log_w = (torch.cat(each) for each in zip(*parts, strict=True))
        return draws, log_w

    def log_weights(self, flow: Flow, u: Tensor) -> Tensor:
        """log p̃ − log q at points u (B, D), on the CPU."""
        return (self.target(u).double().to(u.device) - flow.log_prob(u).double().to(u.device)).cpu()

    @torch.no_grad()
    def seconds(self, flow: Flow) -> float:
        """How long weighting will take, by the time that a few draws take."""
        start = time.monotonic()
        u, _ = flow.sample_and_log_prob((TIMED,), generator=torch.Generator().manual_seed(0))
        self.target(u)
        return (time.monotonic() - start) * self.samples / TIMED

    def _within_region(self, figures: Diagnostics, draws: Tensor, log_w: Tensor) -> Diagnostics:
        """With the ELBO of the flow cut to the declared region: its draws outside are none of it,
        and known to be so.
        """
        region = self.target.region
        space = self.target.space
        points = draws if region.inside is not None else draws[:0]
        parts = points.to(self.device).split(ROWS)
        inside = torch.cat([region.contains(space.constrain(u)[0]).cpu() for u in parts])
        if bool(inside.all()) or not bool(inside.any()):
            return figures
        share = float(inside.double().mean())
        value, error = elbo(log_w[inside])
        error_of_share = math.sqrt((1 - share) / (share * len(inside)))
        return replace(
            figures,
            declared_share=1 - share,
            elbo=value + math.log(share),
            elbo_se=math.hypot(error, error_of_share),
        )

    def _against_particles(self, flow: Flow, log_w: Tensor, figures: Diagnostics) -> Diagnostics:
        """The share of the held-out particles that no draw's weight accounts for, and log Z's error
        with what that says.

        Mass that no particle met either may be missing besides: about one part in as many as there
        are lineages.
        """
        if not self.survey.complete:
            return figures
        particles = self.survey.held_out.particles.flatten(0, 1)
        known = torch.cat([self.log_weights(flow, part) for part in particles.split(ROWS)])
        share = lost_modes(log_w, known)
        missing = -math.log1p(-min(share, 1 - 1e-9))
        error = math.hypot(figures.log_z_se, missing, 1 / self.survey.lineages)
        return replace(figures, beyond=share, log_z_se=error)

    def _gradient_snr(self, flow: Flow, settings: Settings) -> float:
        """Signal to noise of the path gradient of the reverse divergence, over batches as in
        training.
        """
        objective = ReverseKL(flow, self.target).train()
        rows = list(_gradients(objective, settings))
        objective.eval()
        return gradient_snr(torch.stack(rows)) if rows else math.nan


def _gradients(objective: ReverseKL, settings: Settings) -> Iterator[Tensor]:
    """Gradients (P,) by all parameters of the flow, of a few batches."""
    parameters = [p for p in objective.flow.parameters() if p.requires_grad]
    if not parameters:
        return
    batches = NoiseBatches(
        base=objective.flow.base,
        size=settings.batch_size,
        seed=mix(settings.seed, Stream.GRADIENTS),
    )
    seeded = seeder(objective)
    for i in range(GRADIENTS):
        with torch.enable_grad(), seeded(mix(settings.seed, Stream.GRADIENTS, i)):
            grads = grad(objective(*batches.batch(i)).mean(), parameters, allow_unused=True)
        whole = [
            torch.zeros_like(p) if g is None else g for g, p in zip(grads, parameters, strict=True)
        ]
        yield torch.cat([g.flatten() for g in whole])


def _normalised(log_w: Tensor) -> Tensor:
    """Pareto-smoothed log weights (N,), equal ones where all are zero."""
    if bool(log_w.isfinite().any()):
        return smooth(log_w)[0]
    return torch.full_like(log_w, -math.log(len(log_w)))


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
