"""The loss on held-out rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.seeds import seeder
from ..core.streams import Stream, mix
from .config import TrainConfig
from .health import blame
from .objectives import Objective

__all__ = ["Validation", "Validator"]


@dataclass(frozen=True)
class Validation:
    """Mean loss and its standard error."""

    loss: float
    se: float

    @property
    def finite(self) -> bool:
        return math.isfinite(self.loss)


class Validator:
    """Scores the same rows with the same noise each time, so that evaluations compare."""

    def __init__(self, objective: Objective, rows: Sequence[Tensor], config: TrainConfig) -> None:
        self.objective = objective
        self.rows = rows
        self.size = config.eval_rows
        self.seed = mix(config.seed, Stream.VALIDATION)
        self.seeded = seeder(objective)

    @torch.no_grad()
    def __call__(self) -> Validation:
        self.objective.eval()
        passes = zip(*(part.split(self.size) for part in self.rows), strict=True)
        with self.seeded(self.seed):
            parts = [self.objective(*batch) for batch in passes]
        self.objective.train()
        losses = torch.cat(parts).double()
        spread = losses.std() if len(losses) > 1 else losses.new_zeros(())
        return Validation(losses.mean().item(), (spread / len(losses) ** 0.5).item())

    @torch.no_grad()
    def blame(self, names: Sequence[str] | None) -> str:
        """Words for the rows whose loss is not finite."""
        with self.seeded(self.seed):
            losses = self.objective(*self.rows)
        return blame(losses, self.rows, rows=range(len(self.rows[0])), names=names)
