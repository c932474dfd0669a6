"""What the caller of `infer` chose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from ...flow import Flow
from ..objectives.divergences import VariationalObjective
from ..target.target import Target

__all__ = ["Settings"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of `infer` that every attempt needs."""

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
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where flows are; points and weights that are kept are on the CPU."""
