"""What a run remembers besides tensors."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields

import pydantic

__all__ = ["State"]


@dataclass(kw_only=True)
class State:
    """Counters and figures of a run, JSON-able; with the tensors of a checkpoint all of it."""

    step: int = 0
    lr_scale: float = 1.0
    best: dict[str, int | float] | None = None
    """`loss`, `se` and `step` of the best validation; None without validation rows."""
    stale: int = 0
    """Evaluations since the best."""
    skipped: int = 0
    skipped_in_row: int = 0
    rollbacks: int = 0
    good_step: int = 0
    """Where a roll-back leads to."""
    loss_sum: float = 0.0
    loss_count: int = 0
    typical: float | None = None
    """Running mean of the training loss, and `deviation` from it, by which jumps are noticed."""
    deviation: float = 0.0
    average_count: int = 0
    lines: int = 0
    """Lines of the metrics log that were written before the checkpoint."""
    seconds: float = 0.0
    finished: str | None = None
    """`limit`, `patience` or `signal`."""

    @classmethod
    def parse(cls, text: bytes) -> State:
        """From the JSON of a checkpoint; raises ValueError where a name is missing or a value is of
        another type.
        """
        state = pydantic.TypeAdapter(cls).validate_json(text, strict=True)
        if json.loads(text).keys() != {entry.name for entry in fields(cls)}:
            raise ValueError("its state has other names")
        if state.best is not None and state.best.keys() != {"loss", "se", "step"}:
            raise ValueError("its best evaluation has other names")
        return state

    def mean_loss(self) -> float | None:
        """Mean training loss since the last evaluation, None without any step since."""
        return self.loss_sum / self.loss_count if self.loss_count else None
