"""The trainer: any objective, one optimiser, the clock and the disk. It does not know what a flow
is.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..core.errors import CheckpointError, DataError, TrainingError
from ..runs import MetricsLog, Processes, StopRequest
from .checkpoints import Checkpoint
from .config import TrainConfig
from .health import ROLLBACKS, blame, note_loss, note_skip
from .objectives import Objective
from .progress import Progress
from .sampler import Batches
from .schedule import learning_rate
from .state import State
from .stepping import Stepper, StepResult
from .validation import Validation, Validator

__all__ = ["Trainer"]


@dataclass(kw_only=True)
class Trainer:
    """Minimise `objective` over `batches`; `run` leaves the best weights in it and returns the
    final state.
    """

    objective: Objective
    batches: Batches
    config: TrainConfig
    valid: Sequence[Tensor] | None = None
    """Held-out rows; without them the newest averaged weights are the best."""
    processes: Processes = field(default_factory=Processes)
    folder: Path | None = None
    names: Sequence[str] | None = None
    """Of the columns, for messages."""
    stop: StopRequest = field(default_factory=StopRequest)
    tell: Callable[[Progress], None] | None = None
    show: Callable[[int], None] | None = None
    """Called at every evaluation, with the step, while the averaged weights are in place."""

    def __post_init__(self) -> None:
        self.state = State()
        self.metrics = MetricsLog(self.folder if self.processes.first else None)
        self.stepper = Stepper(self.objective, self.config, self.processes)
        self.validator = (
            None if self.valid is None else Validator(self.objective, self.valid, self.config)
        )
        self.good: dict[str, Tensor] = {}
        self.best: dict[str, Tensor] = {}
        self.saved_at = 0.0

    def run(self, resume: bool = False) -> State:
        """Train until a limit, the patience or a signal ends it. Raises `TrainingError`,
        `CheckpointError`.
        """
        if not (resume and self._restore()):
            self.metrics.truncate(0)
        state = self.state
        self.saved_at = state.seconds
        started = time.monotonic() - state.seconds
        if state.step == 0:
            self._evaluate()
        while state.finished is None:
            self._step()
            state.seconds = time.monotonic() - started
            if state.step % self.config.eval_every == 0:
                self._evaluate()
            state.finished = self._why_stop()
            if state.finished or self._checkpoint_due():
                self._close_or_save()
        self._load_best()
        return state

    @property
    def fraction(self) -> float:
        """How much of the run is over, by steps or by minutes, whichever is further."""
        by_step = self.state.step / self.config.steps if self.config.steps else 0.0
        by_time = self.state.seconds / 60 / self.config.minutes if self.config.minutes else 0.0
        return self.processes.largest(max(by_step, by_time)) if self.config.minutes else by_step

    # One step

    def _step(self) -> None:
        state = self.state
        batch = self.batches.batch(state.step)
        peak = self.config.lr * state.lr_scale
        lr = learning_rate(peak, self.fraction, step=state.step, warmup=self.config.warmup)
        result = self.stepper.step(batch, step=state.step, lr=lr)
        if result.finite:
            self._note(result)
        else:
            self._skip(result.losses, batch)
        state.step += 1

    def _note(self, result: StepResult) -> None:
        typical = note_loss(self.state, result.loss)
        if typical is not None:
            norm = result.grad_norm.item()
            self._write(event="jump", loss=result.loss, typical=typical, grad_norm=norm)

    def _skip(self, losses: Tensor, batch: Sequence[Tensor]) -> None:
        state = self.state
        rolled_back = note_skip(state)
        self._write(event="skipped")
        if not rolled_back:
            return
        self.stepper.load(self.good)
        self._write(event="rollback", to=state.good_step, lr_scale=state.lr_scale)
        if state.rollbacks >= ROLLBACKS:
            rows = self.batches.rows(state.step)
            reason = blame(losses.detach(), batch, rows=rows, names=self.names)
            self._load_best()
            raise TrainingError(
                f"training stopped at step {state.step}: loss or gradient not finite after"
                f" {ROLLBACKS} roll-backs; {reason}; the weights kept are finite: lower the"
                " learning rate, or look at these rows"
            )

    # Evaluation and stopping

    def _evaluate(self) -> None:
        state = self.state
        with self.stepper.average.swapped():
            result = self._validate()
            improved = self._improves(result)
            if self.show is not None and self.processes.first:
                self.show(state.step)
            if improved or not self.best:
                self.best = _copies(self.objective.state_dict())
        state.stale = 0 if improved else state.stale + 1
        if improved and result is not None:
            state.best = {"loss": result.loss, "se": result.se, "step": state.step}
        self._say(result)
        state.loss_sum = 0.0
        state.loss_count = 0
        self._keep_good()

    def _validate(self) -> Validation | None:
        """None without validation rows. Raises `DataError` where they cannot be scored at the
        start.
        """
        if self.validator is None:
            return None
        result = self.validator()
        if not result.finite and self.state.step == 0:
            raise DataError(
                f"held-out rows cannot be scored: {self.validator.blame(self.names)}; mend or"
                " remove them, or change the column's kind"
            )
        return result

    def _improves(self, result: Validation | None) -> bool:
        """Without validation rows every evaluation is the best so far."""
        if result is None:
            return True
        best = self.state.best
        return result.finite and (best is None or result.loss < best["loss"])

    def _say(self, result: Validation | None) -> None:
        """To the metrics log, and to who listens."""
        state = self.state
        train = state.mean_loss()
        valid = {} if result is None else {"valid": result.loss, "valid_se": result.se}
        self._write(train=train, **valid, lr=self.stepper.lr, skipped=state.skipped)
        held_out = None if result is None else result.loss
        loss = train if train is not None else held_out
        if self.tell is not None and self.processes.first and loss is not None:
            self.tell(Progress(state.step, self.fraction, loss, held_out, state.seconds))

    def _why_stop(self) -> str | None:
        if signum := int(self.processes.largest(float(self.stop.signum or 0))):
            if self.stop.signum is None:
                self.stop.note(signum)  # another process got it
            return "signal"
        if self.fraction >= 1:
            return "limit"
        if self.config.patience is not None and self.state.stale > self.config.patience:
            return "patience"
        return None

    def _close_or_save(self) -> None:
        ends = self.state.finished in ("limit", "patience")
        if ends and self.state.step % self.config.eval_every:
            self._evaluate()
        self._checkpoint()

    # Snapshots in memory, checkpoints on disk

    def _keep_good(self) -> None:
        tensors = self.stepper.tensors()
        if all(bool(t.isfinite().all()) for t in tensors.values() if t.is_floating_point()):
            self.good = _copies(tensors)
            self.state.good_step = self.state.step

    def _load_best(self) -> None:
        if self.best:
            self.objective.load_state_dict(self.best)
        self.objective.eval()

    def _checkpoint_due(self) -> bool:
        return self.state.seconds - self.saved_at >= self.config.checkpoint_seconds

    def _checkpoint(self) -> None:
        state = self.state
        self.saved_at = state.seconds
        if self.folder is None or not self.processes.first:
            return
        self.metrics.sync()
        state.average_count = self.stepper.average.count
        state.lines = len(self.metrics.history)
        good = None if state.good_step == state.step else self.good
        checkpoint = Checkpoint(
            state=state, current=self.stepper.tensors(), best=self.best, good=good
        )
        checkpoint.write(self.folder)

    def _restore(self) -> bool:
        """Go on from the newest checkpoint; False where there is none."""
        stored = Checkpoint.read(self.folder)
        if stored is None:
            return False
        checkpoint, notes = stored
        try:
            self.objective.load_state_dict(checkpoint.best)
            if checkpoint.good is not None:
                self.stepper.load(checkpoint.good)
            self.stepper.load(checkpoint.current)
        except (TypeError, KeyError, RuntimeError) as error:
            text = str(error).splitlines()[0]
            raise CheckpointError(
                f"{self.folder}: its checkpoint is of another model or settings: {text}"
            ) from None
        self.state = checkpoint.state
        self.best = checkpoint.best
        self.good = checkpoint.good or _copies(self.stepper.tensors())
        self.stepper.average.count = self.state.average_count
        # resumed with a later limit or more patience
        if self.state.finished in ("limit", "patience"):
            self.state.finished = self._why_stop()
        if lost := self.metrics.truncate(self.state.lines):
            notes.append(lost)
        for note in notes:
            self._write(event="damaged", note=note)
            warnings.warn(note, stacklevel=2)
        return True

    def _write(self, **entry: Any) -> None:
        per_epoch = self.batches.steps_per_epoch
        epoch = self.state.step / per_epoch if per_epoch else None
        self.metrics.add(step=self.state.step, epoch=epoch, **entry)


def _copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in tensors.items()}
