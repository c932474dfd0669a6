"""Training of one attempt: the trainer on base noise, its checkpoints, and what they belong to."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ...flow import Flow
from ...runs import begin_run, fingerprint, recorded_settings
from ...training import Progress, TrainConfig, Trainer
from ..objectives.divergences import VariationalObjective
from ..objectives.fab import FAB
from ..objectives.noise import NoiseBatches
from ..target.target import Target
from .limits import Limits
from .settings import Settings

__all__ = ["AttemptTrainer"]

HELD_OUT = 1_024  # latents that weights are chosen on
EVAL_ROWS = 8_192  # evaluated in one pass
# Evaluations, of 40, without a better ELBO after which a start from particles gives way to the next
# attempt: of funnels it gets worse and worse, and nothing but the time for the others is lost.
PATIENCE = 10
PROBES = 16  # points that tell one log density from another on resume


@dataclass(frozen=True, kw_only=True)
class AttemptTrainer:
    """Trains flows on a target until a limit; with `folder`, attempts leave checkpoints in it."""

    target: Target
    limits: Limits
    folder: Path | None
    resume: bool
    progress: Callable[[Progress], None] | None
    first_seed: int
    """The seed of the attempts whose folders are named after them alone."""

    def train(
        self,
        name: str,
        objective: VariationalObjective,
        settings: Settings,
        *,
        steps: int,
        until: float,
    ) -> list[dict[str, Any]]:
        """Train an attempt's flow, no longer than `until` in seconds of `time.monotonic()`; the
        metrics of every evaluation.
        """
        batches = NoiseBatches(
            base=objective.flow.base, size=settings.batch_size, seed=settings.seed
        )
        folder = self._folder(name, settings.seed)
        earlier = recorded_settings(folder, resume=self.resume)
        config = TrainConfig(
            steps=steps,
            minutes=_minutes(until),
            lr=settings.lr,
            eval_every=earlier.get("eval_every", max(1, steps // 40)),
            patience=PATIENCE if name == "particles" else None,
            weight_decay=0.0,
            ema=0.99,
            seed=settings.seed,
            eval_rows=EVAL_ROWS,
        )
        # FAB is to cover what the ELBO does not ask for: its last weights are kept, not those of
        # the best ELBO.
        valid = None if isinstance(objective, FAB) else batches.held_out(HELD_OUT)
        if folder is not None:
            self._begin_run(folder, objective, settings, config=config)
        trainer = Trainer(
            objective=objective.to(settings.device).train(),
            batches=batches,
            config=config,
            valid=valid,
            folder=folder,
            stop=self.limits.stop,
            tell=self._progress(name),
        )
        state = trainer.run(self.resume)
        self.limits.exceeded |= state.finished == "limit" and state.step < steps
        return trainer.metrics.history

    def _folder(self, name: str, seed: int) -> Path | None:
        """Where the attempt's checkpoints go."""
        if self.folder is None:
            return None
        folder = self.folder / "attempts" / (name if seed == self.first_seed else f"{name}-{seed}")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _begin_run(
        self,
        folder: Path,
        objective: VariationalObjective,
        settings: Settings,
        *,
        config: TrainConfig,
    ) -> None:
        """Begin an attempt in its folder; a resumed one must be of the same log density and
        settings.
        """
        u = torch.randn(PROBES, self.target.space.size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            values = self.target(u)[:, None]
        plain = {k: v for k, v in vars(objective).items() if isinstance(v, (int, float, str))}
        recipe = {
            "model": _model_name(settings.model),
            "layers": settings.layers,
            "hidden": list(settings.hidden),
            "objective": type(objective).__name__,
            **plain,
        }
        begin_run(
            folder,
            resume=self.resume,
            data={"values of the log density": fingerprint(values)},
            recipe=recipe,
            settings=asdict(config) | {"batch_size": settings.batch_size, "scale": settings.scale},
        )

    def _progress(self, name: str) -> Callable[[Progress], None] | None:
        progress = self.progress
        if progress is None:
            return None
        loss = "cross-entropy" if name == "fab" else "−ELBO"
        return lambda p: progress(replace(p, unit=f"nats of {loss} ({name})"))


def _minutes(until: float) -> float | None:
    left = until - time.monotonic()
    return None if math.isinf(left) else max(1e-3, left / 60)


def _model_name(model: str | Flow) -> str:
    if isinstance(model, str):
        return model
    return str([tuple(p.shape) for p in model.parameters()])
