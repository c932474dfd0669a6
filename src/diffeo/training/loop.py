"""The loop: any objective, one optimiser, the clock and the disk. It does not know what a flow
is.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pydantic
import torch
from torch import Tensor, nn

from ..core.errors import CheckpointError, DataError, TrainingError
from ..core.seeds import seeder
from ..core.streams import Stream, mix
from ..runs import MetricsLog, Processes, StopRequest, read_checkpoint, write_checkpoint
from .ema import Average
from .objectives import Objective, blame
from .sampler import Batches
from .schedule import learning_rate

__all__ = ["Loop", "LoopConfig", "Progress", "State"]


@dataclass(frozen=True)
class LoopConfig:
    """How to train. Everything but the three limits must stay the same on resume."""

    steps: int | None
    minutes: float | None
    lr: float
    eval_every: int
    patience: int | None  # evaluations without improvement
    weight_decay: float = 1e-4
    warmup: int = 100
    clip: float = 5.0  # gradient norm
    ema: float = 0.998
    seed: int = 0
    checkpoint_seconds: float = 20.0
    eval_rows: int = 8192  # rows per validation pass, bounds memory


@dataclass
class State:
    """All that a run remembers besides tensors; goes into the checkpoint as JSON."""

    step: int = 0
    lr_scale: float = 1.0
    best: dict[str, int | float] | None = None
    stale: int = 0  # evaluations since the best
    skipped: int = 0
    skipped_in_row: int = 0
    rollbacks: int = 0
    good_step: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    typical: float | None = None  # running mean of the loss and of its deviation: to notice jumps
    deviation: float = 0.0
    average_count: int = 0
    lines: int = 0
    seconds: float = 0.0
    finished: str | None = None

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


@dataclass(frozen=True)
class Progress:
    """What is told while training: for bars and log lines. Losses are in `unit`."""

    step: int
    fraction: float
    loss: float
    valid: float | None
    seconds: float
    unit: str = "nats per row"
    note: str | None = None
    """What to say in place of losses, where there are none."""

    def __str__(self) -> str:
        if self.note is not None:
            return self.note
        valid = "" if self.valid is None else f"   held-out {self.valid:.4f}"
        return f"training {self.loss:.4f}{valid}   {self.unit}"


@dataclass
class Loop:
    """Minimise `objective` over `batches`; `run` leaves the best weights in it and returns the
    final state.
    """

    objective: Objective
    batches: Batches
    valid: Sequence[Tensor] | None
    config: LoopConfig
    processes: Processes = field(default_factory=Processes)
    folder: Path | None = None
    names: Sequence[str] | None = None
    stop: StopRequest = field(default_factory=StopRequest)
    tell: Callable[[Progress], None] | None = None
    show: Callable[[int], None] | None = None
    """Called at every evaluation, with the step, while the averaged weights are in place."""

    def __post_init__(self) -> None:
        self.state = State()
        self.metrics = MetricsLog(self.folder if self.processes.first else None)
        self.model = self.processes.wrap(self.objective)
        self.seeded = seeder(self.objective)
        self.parameters = [p for p in self.objective.parameters() if p.requires_grad]
        self.average = Average(self.objective, self.config.ema)
        self.optimizer = torch.optim.AdamW(
            list(self._groups()), lr=self.config.lr, fused=self._can_fuse()
        )
        self.good: dict[str, Tensor] = {}
        self.best: dict[str, Tensor] = {}
        self.saved_at = 0.0
        self.validated: float | None = None

    def run(self, resume: bool = False) -> State:
        """Train until a limit, the patience or a signal ends it. Raises `TrainingError`,
        `CheckpointError`.
        """
        state = self.state
        if not (resume and self._restore()):
            self.metrics.truncate(0)
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
        state, config = self.state, self.config
        batch = self.batches.batch(state.step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(
                config.lr * state.lr_scale, self.fraction, state.step, config.warmup
            )
        self.optimizer.zero_grad(set_to_none=True)
        with self.seeded(mix(config.seed, Stream.STEP, state.step, self.processes.rank)):
            losses = self.model(*batch)
            mean = losses.mean()
            mean.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, config.clip)
        loss = mean.item()
        broken = not (mean.isfinite() and norm.isfinite())
        if self.processes.largest(float(broken)):
            self._skip(losses, batch)
        else:
            self.optimizer.step()
            self.average.update()
            self._note(loss, norm.item())
        state.step += 1

    def _note(self, loss: float, norm: float) -> None:
        state = self.state
        state.skipped_in_row = 0
        state.loss_sum, state.loss_count = state.loss_sum + loss, state.loss_count + 1
        if state.typical is None:
            state.typical, state.deviation = loss, abs(loss)
        away = abs(loss - state.typical)
        if state.step > 100 and loss - state.typical > 50 * state.deviation + 1:
            self._write(event="jump", loss=loss, typical=state.typical, grad_norm=norm)
        state.typical += 0.02 * (loss - state.typical)
        state.deviation += 0.02 * (min(away, 10 * state.deviation + 1e-3) - state.deviation)

    def _skip(self, losses: Tensor, batch: Sequence[Tensor]) -> None:
        state = self.state
        state.skipped, state.skipped_in_row = state.skipped + 1, state.skipped_in_row + 1
        self._write(event="skipped")
        if state.skipped_in_row < 3:
            return
        state.skipped_in_row, state.rollbacks, state.lr_scale = (
            0,
            state.rollbacks + 1,
            state.lr_scale / 2,
        )
        self._put(self.good)
        self._write(event="rollback", to=state.good_step, lr_scale=state.lr_scale)
        if state.rollbacks >= 3:
            reason = blame(losses.detach(), batch, self.batches.rows(state.step), self.names)
            self._load_best()
            raise TrainingError(
                f"training stopped at step {state.step}: loss or gradient not finite after 3"
                f" roll-backs; {reason}; the weights kept are finite: lower the learning rate, or"
                " look at these rows"
            )

    # Evaluation and stopping

    def _evaluate(self) -> None:
        state = self.state
        with self.average.swapped():
            nll, error = self.validate()
            finite = nll == nll and abs(nll) != float("inf")
            if not finite and state.step == 0:
                raise DataError(
                    f"held-out rows cannot be scored: {self._blame_valid()}; mend or remove them,"
                    " or change the column's kind"
                )
            improved = finite and (state.best is None or nll < state.best["loss"])
            if self.show is not None and self.processes.first:
                self.show(state.step)
            if improved or not self.best:
                self.best = {
                    name: t.detach().clone() for name, t in self.objective.state_dict().items()
                }
        if improved:
            state.best, state.stale = {"loss": nll, "se": error, "step": state.step}, 0
        elif self.valid is not None:
            state.stale += 1
        self.validated = nll if self.valid is not None else None
        train = state.loss_sum / state.loss_count if state.loss_count else None
        valid = {"valid": nll, "valid_se": error} if self.valid is not None else {}
        self._write(
            train=train, **valid, lr=self.optimizer.param_groups[0]["lr"], skipped=state.skipped
        )
        if self.tell is not None and self.processes.first:
            self.tell(
                Progress(
                    state.step,
                    self.fraction,
                    train if train is not None else nll,
                    self.validated,
                    state.seconds,
                )
            )
        state.loss_sum, state.loss_count = 0.0, 0
        self._keep_good()

    @torch.no_grad()
    def validate(self) -> tuple[float, float]:
        """Mean validation loss and its standard error; without validation rows every evaluation is
        the best so far.
        """
        if self.valid is None:
            return -float(self.state.step), 0.0
        self.objective.eval()
        passes = zip(*(v.split(self.config.eval_rows) for v in self.valid), strict=True)
        # the same noise each time, so that evaluations compare
        with self.seeded(mix(self.config.seed, Stream.VALIDATION)):
            parts = [self.objective(*rows) for rows in passes]
        self.objective.train()
        losses = torch.cat(parts).double()
        spread = losses.std() if len(losses) > 1 else losses.new_zeros(())
        return losses.mean().item(), (spread / len(losses) ** 0.5).item()

    @torch.no_grad()
    def _blame_valid(self) -> str:
        assert self.valid is not None
        with self.seeded(mix(self.config.seed, Stream.VALIDATION)):
            losses = self.objective(*self.valid)
        return blame(losses, self.valid, range(len(self.valid[0])), self.names)

    def _why_stop(self) -> str | None:
        state, config = self.state, self.config
        if signum := int(self.processes.largest(float(self.stop.signum or 0))):
            if self.stop.signum is None:
                self.stop.note(signum)  # another process got it
            return "signal"
        if self.fraction >= 1:
            return "limit"
        if config.patience is not None and state.stale > config.patience:
            return "patience"
        return None

    def _close_or_save(self) -> None:
        if (
            self.state.finished in ("limit", "patience")
            and self.state.step % self.config.eval_every
        ):
            self._evaluate()
        self._checkpoint()

    # Memory: snapshots in RAM, checkpoints on disk

    def _tensors(self) -> dict[str, Tensor]:
        """Everything that a step changes."""
        tensors = {f"model.{name}": t for name, t in self.objective.state_dict().items()}
        tensors |= {f"average.{i}": t for i, t in enumerate(self.average.mean)}
        for i, parameter in enumerate(
            p for group in self.optimizer.param_groups for p in group["params"]
        ):
            tensors |= {f"optimizer.{i}.{k}": v for k, v in self.optimizer.state[parameter].items()}
        return tensors

    @torch.no_grad()
    def _put(self, tensors: dict[str, Tensor]) -> None:
        """The reverse of `_tensors`."""
        self.objective.load_state_dict(
            {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
        )
        for i, mean in enumerate(self.average.mean):
            mean.copy_(tensors[f"average.{i}"])
        for i, parameter in enumerate(
            p for group in self.optimizer.param_groups for p in group["params"]
        ):
            start = f"optimizer.{i}."
            found = {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
            # Laid out in memory as the parameter is (convolutions keep channels last): the fused
            # optimiser goes by memory.
            self.optimizer.state[parameter] = {
                k: t.clone() if k == "step" else torch.empty_like(parameter).copy_(t)
                for k, t in found.items()
            }

    def _keep_good(self) -> None:
        tensors = self._tensors()
        if all(bool(t.isfinite().all()) for t in tensors.values() if t.is_floating_point()):
            self.good = {name: t.detach().clone() for name, t in tensors.items()}
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
        tensors = self._tensors() | {f"best.{name}": t for name, t in self.best.items()}
        if state.good_step != state.step:
            tensors |= {f"good.{name}": t for name, t in self.good.items()}
        state.average_count, state.lines = self.average.count, len(self.metrics.history)
        finished = None if state.finished == "signal" else state.finished
        write_checkpoint(
            self.folder / "checkpoints", state.step, tensors, asdict(state) | {"finished": finished}
        )

    def _restore(self) -> bool:
        found = (
            read_checkpoint(self.folder / "checkpoints", State.parse)
            if self.folder is not None
            else None
        )
        if found is None:
            return False
        tensors, state, notes = found
        parts = {key: _part(tensors, key) for key in ("best", "good")}
        try:
            self.objective.load_state_dict(parts["best"])
            for part in (
                parts["good"],
                {n: t for n, t in tensors.items() if not n.startswith(("best.", "good."))},
            ):
                self._put(part) if part else None
        except (TypeError, KeyError, RuntimeError) as error:
            text = str(error).splitlines()[0]
            raise CheckpointError(
                f"{self.folder}: its checkpoint is of another model or settings: {text}"
            ) from None
        self.state.__dict__.update(state.__dict__)
        self.best = parts["best"]
        self.average.count = self.state.average_count
        self.good = parts["good"] or {
            name: t.detach().clone() for name, t in self._tensors().items()
        }
        # resumed with a later limit or more patience
        if self.state.finished in ("limit", "patience"):
            self.state.finished = self._why_stop()
        if lost := self.metrics.truncate(self.state.lines):
            notes.append(lost)
        for note in notes:
            self._write(event="damaged", note=note)
            warnings.warn(note, stacklevel=2)
        return True

    # Small things

    def _write(self, **entry: Any) -> None:
        epoch = (
            self.state.step / self.batches.steps_per_epoch if self.batches.steps_per_epoch else None
        )
        self.metrics.add(step=self.state.step, epoch=epoch, **entry)

    def _groups(self) -> Iterator[dict[str, Any]]:
        """Weight decay is for the matrices of the networks; shifts, scales and knots are left
        alone.
        """
        matrices = {
            id(m.weight) for m in self.objective.modules() if isinstance(m, (nn.Linear, nn.Conv2d))
        }
        decayed = [p for p in self.parameters if id(p) in matrices]
        yield {"params": decayed, "weight_decay": self.config.weight_decay}
        yield {"params": [p for p in self.parameters if id(p) not in matrices], "weight_decay": 0.0}

    def _can_fuse(self) -> bool:
        return all(
            p.is_floating_point() and p.device.type in ("cpu", "cuda", "mps")
            for p in self.parameters
        )


def _part(tensors: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{key}."): t for name, t in tensors.items() if name.startswith(f"{key}.")
    }
