"""`fit`: from a flow and data to a trained flow."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from .. import store
from ..card import Training
from ..core.errors import ConfigError, TrainingError
from ..domains import of_flow
from ..flow import Flow
from ..layers.memory.recompute import Memory, recomputing
from ..runs import (
    Processes,
    StopRequest,
    begin_run,
    lock_folder,
    recorded_settings,
    stop_on_signals,
)
from .config import TrainConfig
from .dataset import Dataset
from .evaluate import rows_per_pass
from .objectives import LossFunction, NegativeLogLikelihood, Objective, objective_for
from .progress import Progress, print_progress
from .sample_grid import SampleGrid
from .start import Start, fall_back, set_up, take_out, undo
from .trainer import Trainer

__all__ = ["FitResult", "fit"]


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


def fit(
    flow: Flow,
    x: Any,
    context: Any = None,
    *,
    objective: LossFunction | Objective | type[Objective] | None = None,
    valid: Any = 0.1,
    steps: int | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    patience: int | None = None,
    ema: float = 0.998,
    clip: float = 5.0,
    warmup: int | None = None,
    eval_every: int | None = None,
    checkpoint_seconds: float = 20.0,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool | Callable[[Progress], None] = False,
    device: str | torch.device | None = None,
    initialize: bool | None = None,
    flips: bool = False,
    precision: Literal["float32", "bfloat16"] = "float32",
    memory: Memory = "store",
) -> FitResult:
    """Maximum likelihood, or another objective: minimise −mean log p(x | c) by AdamW with warm-up,
    cosine decay, clipping and an EMA.

    `x` is (N, *event): a tensor, array, `Table`, data frame or path; or an iterable of batches (x
    or (x, context)). `valid` is the share of rows held out by `seed`, or rows, or (rows, contexts);
    the weights kept are the EMA's best on them. Limits not given are chosen from the size of the
    data; so are batch size, learning rate and patience (`diffeo.training.recommend`). With `out`,
    checkpoints, `metrics.jsonl` and at the end the model go there; `resume` goes on from the newest
    checkpoint, bit for bit as if never interrupted (but for a limit in minutes, which is the
    clock's). A flow that was trained before is not set up (standardised) again unless
    `initialize=True`.

    `objective` is a loss of your own in place of −log p(x | c): a function of the flow, rows x (B,
    \\*event) and contexts (B, \\*context), None without any, that returns one loss a row (B,); or a
    `training.Objective`, which may have parameters and differ between training and validation. In
    place of contexts, an iterable may yield whatever else the loss needs a row of, such as weights.
    Validation, the history and `best` (`loss` and `loss_se`) are then in the loss's own terms. A
    resumed run must be given the same; only its name is compared.

    Of images, `x` may also be `Images`, a folder or file that `diffeo.data.read_images` reads, and
    at most 1,000 are held out; a class-conditional flow takes their labels. `flips` mirrors images
    at random. With `out`, samples of the same noise go to `out/samples/STEP.png` at every
    evaluation. `precision="bfloat16"` computes the networks in that, but for coupling layers that
    are compiled whole: they stay in float32, which is faster (docs/performance.md).

    Columns of a table of which the others or the context leave less than 1 % of the variance are
    taken out before the couplings (`layers.Regress`) where held-out rows are likelier so. A flow
    that ends above the Gaussian with the same means and covariances, linear in the context, becomes
    that Gaussian. `FitResult.start` says so. Of flows built by hand neither, nor with an objective
    of your own.

    `memory="invert"` trains in memory that does not grow with the depth of the flow, in 1.1 to 1.4
    times the time: every `Chain` in it is run as a `layers.Recompute` meanwhile. What is saved is
    the same. A run that had to store some links is resumed to rounding, not bit for bit.

    A first SIGINT, SIGTERM or SIGHUP ends the run: the best weights so far are kept and saved,
    handlers from before the call are put back, and the signal is sent again, so that the process
    ends by it (SIGINT raises KeyboardInterrupt) or a handler of your own gets it; where that lets
    the program go on, the result is returned. Another SIGINT, at least two seconds later, stops
    without saving. In threads other than the main one signals are left alone.

    The same `seed` gives the same flow, in threads as alone, and PyTorch's global generators are
    left as they were. While a step of a flow that draws noise (dropout, dequantisation, `flips`,
    modules of your own) uses them, and while a batch is taken from an iterable, other threads wait
    that need them too: that iterable must not wait for such a thread.

    Raises `DataError` for rows that cannot be used, `CheckpointError` when the folder is in use or
    of other data or settings, `TrainingError` when the loss stays non-finite; the flow's weights
    are finite even then.

    >>> import torch, diffeo
    >>> result = diffeo.fit(diffeo.models.nsf((2,), layers=2), torch.randn(500, 2), steps=50)
    >>> result.best["nll"] < 3.5
    True

    Maximum likelihood of rows that count by a weight, here twice where x > 0:

    >>> def weighted(flow, x, context):
    ...     return -(1.0 + (x[:, 0] > 0)) * flow.log_prob(x, context)
    >>> flow = diffeo.models.nsf((1,), layers=2)
    >>> result = diffeo.fit(flow, torch.randn(1000, 1), objective=weighted, steps=200, lr=1e-2)
    >>> 0.55 < float((flow.sample((2000,)) > 0).float().mean()) < 0.75
    True
    """
    if precision not in ("float32", "bfloat16"):
        raise ConfigError(f"precision must be float32 or bfloat16, got {precision!r}")
    if memory not in ("store", "invert"):
        raise ConfigError(f"memory must be store or invert, got {memory!r}")
    domain = of_flow(flow)
    if flips and not domain.mirrored:
        raise ConfigError("flips=True mirrors images; this flow's events are not images (C, H, W)")
    if objective is not None and (flips or precision != "float32"):
        raise ConfigError(
            "flips and precision are options of maximum likelihood: leave them to the objective"
        )
    place = torch.device(device) if device is not None else flow.device
    flow.to(place)
    trained = (
        NegativeLogLikelihood(flow, flips, precision)
        if objective is None
        else objective_for(flow, objective).to(place)
    )
    processes = Processes.join(place)
    folder = None if out is None else Path(out)
    guard = (
        lock_folder(folder) if folder is not None and processes.first else contextlib.nullcontext()
    )
    with guard:
        data = Dataset.of(flow, x, context, valid, seed, place)
        if data.note is not None:
            flow.card = flow.card.having(data=flow.card.data or data.note)
        advice = domain.recommend(data.size, math.prod(flow.event_shape))
        size = batch_size if batch_size is not None else advice.batch_size
        batches = data.batches(size, seed, processes)
        limit = _steps(steps, epochs, minutes, batches.steps_per_epoch, advice.steps)
        before = recorded_settings(folder, resume=resume)
        chosen = TrainConfig(
            steps=limit,
            minutes=minutes,
            lr=_first(lr, advice.lr),
            eval_every=_first(
                eval_every,
                before.get("eval_every"),
                max(1, min(500, limit // domain.evaluations)) if limit else advice.eval_every,
            ),
            patience=_first(
                patience, advice.patience if steps is None and epochs is None else None
            ),
            weight_decay=_first(weight_decay, advice.weight_decay),
            warmup=_first(warmup, before.get("warmup"), min(100, (limit or 1000) // 10)),
            clip=clip,
            ema=ema,
            seed=seed,
            checkpoint_seconds=checkpoint_seconds,
            eval_rows=rows_per_pass(flow.event_shape),
        )
        settings = asdict(chosen) | {"batch_size": size, "device": place.type}
        settings |= {"flips": flips, "precision": precision, "memory": memory}
        if objective is not None:
            settings["objective"] = getattr(objective, "__qualname__", type(trained).__qualname__)
        earlier = flow.card.training
        set_it_up = initialize or (initialize is None and earlier is None)
        if before and earlier is not None and earlier.start is not None:
            undo(flow)  # the run begins again as it began, and its checkpoint has the rest
            set_it_up = True
        if folder is not None and processes.first:
            begin_run(
                folder, resume=resume, data=data.prints(), recipe=flow.recipe, settings=settings
            )
        tell = progress if callable(progress) else print_progress() if progress else None
        beginning = (
            _begin(flow, data, seed, likelihood=objective is None) if set_it_up else _Beginning()
        )
        if beginning.start is not None and tell is not None and processes.first:
            tell(Progress(0, 0.0, math.nan, None, 0.0, note=beginning.start.reason))
        if tell is not None:
            unit = domain.unit if objective is None else "(your objective)"
            nats = domain.units(flow.event_shape) if objective is None else 1.0
            tell = _in_units(tell, unit, nats)
        show = (
            SampleGrid(flow, folder, seed, data.example_contexts())
            if domain.drawn and folder is not None
            else None
        )
        with stop_on_signals() as stop:  # until here there is nothing to save
            trainer = Trainer(
                objective=trained.train(),
                batches=batches,
                config=chosen,
                valid=data.valid,
                processes=processes,
                folder=folder,
                names=data.names,
                stop=stop,
                tell=tell,
                show=show,
            )
            return _finish(
                trainer,
                flow,
                data=data,
                folder=folder,
                settings=settings,
                resume=resume,
                stop=stop,
                beginning=beginning,
            )


def _first(*options: Any) -> Any:
    """The first that is not None."""
    return next((option for option in options if option is not None), None)


@dataclass(frozen=True)
class _Beginning:
    """The training rows that a Gaussian may be fitted to, and what was taken out of their columns,
    if anything was.
    """

    rows: list[Tensor] | None = None
    start: Start | None = None


def _begin(flow: Flow, data: Dataset, seed: int, *, likelihood: bool) -> _Beginning:
    """Data-dependent set-up; with maximum likelihood, also what makes the flow no worse than a
    Gaussian.
    """
    rows = data.set_up_rows(flow, seed)
    if not likelihood:  # whatever else comes with a row is for the objective alone
        set_up(flow, rows[: 1 if flow.context_shape is None else 2], seed)
        return _Beginning()
    set_up(flow, rows, seed)
    return _Beginning(rows, take_out(flow, rows, data.valid, data.names, seed))


def _fall_back(trainer: Trainer, flow: Flow, rows: list[Tensor] | None) -> Start | None:
    """The Gaussian of the same rows in place of a flow that ended above it."""
    state, validator = trainer.state, trainer.validator
    if rows is None or state.best is None or validator is None or state.finished == "signal":
        return None
    best = state.best["loss"]
    start = fall_back(flow, rows, trainer.config.seed, best, lambda: validator().loss)
    if start is not None:
        result = validator()
        state.best = {"loss": result.loss, "se": result.se, "step": 0}
    trainer.objective.eval()
    return start


def _finish(
    trainer: Trainer,
    flow: Flow,
    *,
    data: Dataset,
    folder: Path | None,
    settings: dict[str, Any],
    resume: bool,
    stop: StopRequest,
    beginning: _Beginning,
) -> FitResult:
    try:
        with recomputing(flow) if settings["memory"] == "invert" else contextlib.nullcontext():
            state = trainer.run(resume)
    except TrainingError:
        if folder is not None and trainer.processes.first and trainer.best:
            store.save(flow, folder)  # the best weights, which are finite
        raise
    start = _fall_back(trainer, flow, beginning.rows) or beginning.start
    best = _best(trainer, loss="loss" if "objective" in settings else "nll")
    summary = Training(
        best=best,
        rows=data.counts,
        steps=state.step,
        stopped=state.finished,
        settings=settings,
        **({} if start is None else {"start": start.as_dict()}),
    )
    flow.card = flow.card.having(training=summary)
    if folder is not None and trainer.processes.first:
        store.save(flow, folder)
    return FitResult(
        flow=flow,
        history=trainer.metrics.history,
        best=best,
        rows=data.counts,
        steps=state.step,
        seconds=state.seconds,
        stopped=state.finished or "limit",
        signum=stop.signum,
        settings=settings,
        train_index=data.train_index,
        valid_index=data.valid_index,
        start=start,
    )


def _best(trainer: Trainer, *, loss: str) -> dict[str, float]:
    """Of the weights kept: their loss by its name, with its standard error, and their step."""
    best = trainer.state.best
    if trainer.validator is None or best is None:
        return {"step": trainer.state.step}
    return {loss: best["loss"], f"{loss}_se": best["se"], "step": best["step"]}


def _steps(
    steps: int | None,
    epochs: float | None,
    minutes: float | None,
    per_epoch: int | None,
    default: int,
) -> int | None:
    for name, value in (("steps", steps), ("epochs", epochs), ("minutes", minutes)):
        if value is not None and value <= 0:
            raise ConfigError(f"{name} must be positive, got {value}")
    if steps is not None and epochs is not None:
        raise ConfigError("give steps or epochs, not both")
    if epochs is not None:
        if per_epoch is None:
            raise ConfigError("an iterable of batches has no epochs: give steps or minutes")
        return max(1, round(epochs * per_epoch))
    return steps if steps is not None else None if minutes is not None else default


def _in_units(
    tell: Callable[[Progress], None], unit: str, nats: float
) -> Callable[[Progress], None]:
    """The same, losses in a unit of so many nats."""

    def told(p: Progress) -> None:
        valid = None if p.valid is None else p.valid / nats
        tell(replace(p, loss=p.loss / nats, valid=valid, unit=unit))

    return told
