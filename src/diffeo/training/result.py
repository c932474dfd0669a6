"""What `fit` returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..flow import Flow
from .start import Start

__all__ = ["FitResult"]


@dataclass(frozen=True)
class FitResult:
    """A trained flow with what happened on the way."""

    flow: Flow
    history: list[dict[str, Any]]
    """The lines of `metrics.jsonl`; losses in nats per row."""
    best: dict[str, float]
    """`nll`, `nll_se` on the validation rows and the `step` of the weights kept; of an objective of
    your own `loss` and `loss_se`.
    """
    rows: dict[str, int]
    """How many rows were trained and validated on."""
    steps: int
    seconds: float
    stopped: str
    """`limit`, `patience` or `signal`."""
    signum: int | None
    """The signal that ended it, where a handler of your own let the program go on."""
    settings: dict[str, Any]
    train_index: Tensor | None
    valid_index: Tensor | None
    start: Start | None = None
    """What was taken out of which columns before the couplings, or the Gaussian that was kept
    instead; None for neither.
    """
