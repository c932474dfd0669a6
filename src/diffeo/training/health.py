"""Losses that jump or are not finite: steps are skipped, then rolled back, and the rows named."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .state import State

__all__ = ["ROLLBACKS", "blame", "note_loss", "note_skip"]

SKIPPED = 3  # steps in a row without a finite gradient, after which the weights are rolled back
ROLLBACKS = 3  # after so many the run ends
SETTLED = 100  # steps before which no loss is a jump
JUMP = 50  # deviations above the typical loss
SMOOTHING = 0.02  # weight of one step in the running means


def note_loss(state: State, loss: float) -> float | None:
    """Count the loss of a step; returns the typical loss where this one is far above it."""
    typical = loss if state.typical is None else state.typical
    deviation = abs(loss) if state.typical is None else state.deviation
    jumped = state.step > SETTLED and loss - typical > JUMP * deviation + 1
    away = abs(loss - typical)
    state.skipped_in_row = 0
    state.loss_sum += loss
    state.loss_count += 1
    state.typical = typical + SMOOTHING * (loss - typical)
    state.deviation = deviation + SMOOTHING * (min(away, 10 * deviation + 1e-3) - deviation)
    return typical if jumped else None


def note_skip(state: State) -> bool:
    """Count a step that was skipped; True where the weights are to be rolled back, from where the
    learning rate is half.
    """
    state.skipped += 1
    state.skipped_in_row += 1
    if state.skipped_in_row < SKIPPED:
        return False
    state.skipped_in_row = 0
    state.rollbacks += 1
    state.lr_scale /= 2
    return True


def blame(
    losses: Tensor, batch: Sequence[Tensor], *, rows: Sequence[int], names: Sequence[str] | None
) -> str:
    """Words for the rows whose loss is not finite, and the column that stands out most in each."""
    x = batch[0].flatten(1).double()
    bad = (~losses.isfinite()).nonzero().flatten().tolist()
    if not bad:
        return "no single row has a non-finite loss: the gradient overflowed"
    spread = (x - x.nanmedian(0).values).abs()
    spread = spread / spread.nanmedian(0).values.clamp_min(1e-300)
    if len(bad) < len(x):  # a value beyond all those of the good rows is the likelier culprit
        good = x[losses.isfinite()]
        spread = spread + 1e9 * ((x < good.amin(0)) | (x > good.amax(0)))
    culprits = []
    for i in bad[:3]:
        column = int(spread[i].nan_to_num(nan=float("inf")).argmax())
        name = names[column] if names else f"x{column}"
        culprits.append(f"row {rows[i]} (column {name!r} = {x[i, column].item():g})")
    return f"{len(bad)} rows have a non-finite loss: {', '.join(culprits)}"
