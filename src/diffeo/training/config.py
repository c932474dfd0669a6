"""How a run is trained, and how what the caller leaves open is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import ConfigError
from ..domains import Advice

__all__ = ["Limits", "TrainConfig", "choose_config"]


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


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long to train, as the caller said; raises `ConfigError` for what cannot be."""

    steps: int | None = None
    epochs: float | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and value <= 0:
                raise ConfigError(f"{name} must be positive, got {value}")
        if self.steps is not None and self.epochs is not None:
            raise ConfigError("give steps or epochs, not both")

    @property
    def counted(self) -> bool:
        """Is the number of steps given? Then patience does not end the run unless asked for."""
        return self.steps is not None or self.epochs is not None

    def in_steps(self, per_epoch: int | None, default: int) -> int | None:
        """The limit in steps; None where minutes alone are one."""
        if self.epochs is not None:
            if per_epoch is None:
                raise ConfigError("an iterable of batches has no epochs: give steps or minutes")
            return max(1, round(self.epochs * per_epoch))
        if self.steps is not None or self.minutes is not None:
            return self.steps
        return default


def choose_config(
    advice: Advice,
    limits: Limits,
    *,
    per_epoch: int | None,
    evaluations: int,
    earlier: Mapping[str, Any],
    lr: float | None,
    eval_every: int | None,
    patience: int | None,
    weight_decay: float | None,
    warmup: int | None,
    **given: Any,
) -> TrainConfig:
    """What is None is taken from the settings of an earlier run, where they have it, else chosen
    from the limit (about so many `evaluations`) or as `advice` has it.
    """
    steps = limits.in_steps(per_epoch, advice.steps)
    every = max(1, min(500, steps // evaluations)) if steps else advice.eval_every
    return TrainConfig(
        steps=steps,
        minutes=limits.minutes,
        lr=_first(lr, advice.lr),
        eval_every=_first(eval_every, earlier.get("eval_every"), every),
        patience=_first(patience, None if limits.counted else advice.patience),
        weight_decay=_first(weight_decay, advice.weight_decay),
        warmup=_first(warmup, earlier.get("warmup"), min(100, (steps or 1000) // 10)),
        **given,
    )


def _first(*options: Any) -> Any:
    """The first that is not None."""
    return next((option for option in options if option is not None), None)
