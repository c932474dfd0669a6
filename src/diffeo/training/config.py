"""How a run is trained."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TrainConfig"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Limits and settings of a run. All but the limits must stay the same on resume."""

    steps: int | None
    minutes: float | None
    lr: float
    """Peak learning rate."""
    eval_every: int
    """Steps between two evaluations."""
    patience: int | None
    """Evaluations without improvement after which the run ends."""
    weight_decay: float = 1e-4
    warmup: int = 100
    """Steps over which the learning rate rises to its peak."""
    clip: float = 5.0
    """Maximum norm of the gradient."""
    ema: float = 0.998
    """Decay of the moving average of the weights."""
    seed: int = 0
    checkpoint_seconds: float = 20.0
    eval_rows: int = 8192
    """Rows in one pass of validation, which bounds its memory."""
