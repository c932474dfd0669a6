"""`fit`: from a flow and data to a trained flow."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch

from .. import store
from ..card import Training
from ..core.errors import ConfigError, TrainingError
from ..domains import Domain, of_flow
from ..flow import Flow
from ..layers.memory.recompute import Memory, recomputing
from ..runs import (
    Processes,
    begin_run,
    lock_folder,
    recorded_settings,
    stop_on_signals,
)
from .config import Limits, choose_config
from .dataset import Dataset
from .density import warn_without_density
from .evaluate import rows_per_pass
from .objectives import LossFunction, NegativeLogLikelihood, Objective, objective_for
from .progress import Progress, progress_callback
from .result import FitResult
from .sample_grid import SampleGrid
from .start import Beginning, Start, begin, fall_back, undo
from .trainer import Trainer

__all__ = ["FitResult", "fit"]


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

    Rows without a density, with values that repeat or columns that others determine, are warned of
    once, with `diffeo.checkup.DensityWarning`.

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
    domain = of_flow(flow)
    _check(domain, flips=flips, precision=precision, memory=memory, objective=objective)
    limits = Limits(steps=steps, epochs=epochs, minutes=minutes)
    device = torch.device(device) if device is not None else flow.device
    flow.to(device)
    minimised = (
        NegativeLogLikelihood(flow, flips, precision)
        if objective is None
        else objective_for(flow, objective).to(device)
    )
    processes = Processes.join(device)
    folder = None if out is None else Path(out)
    writes = folder is not None and processes.first
    with lock_folder(folder) if folder is not None and writes else contextlib.nullcontext():
        data = Dataset.of(flow, x, context, valid=valid, seed=seed, device=device)
        if data.note is not None:
            flow.card = flow.card.having(data=flow.card.data or data.note)
        likelihood = objective is None
        if data.train is not None and domain.examined and likelihood and processes.first:
            warn_without_density(flow, data.train, data.names, stacklevel=2)
        advice = domain.recommend(data.size, math.prod(flow.event_shape))
        batch_size = batch_size if batch_size is not None else advice.batch_size
        batches = data.batches(batch_size, seed, processes)
        earlier = recorded_settings(folder, resume=resume)
        config = choose_config(
            advice,
            limits,
            per_epoch=batches.steps_per_epoch,
            evaluations=domain.evaluations,
            earlier=earlier,
            lr=lr,
            eval_every=eval_every,
            patience=patience,
            weight_decay=weight_decay,
            warmup=warmup,
            clip=clip,
            ema=ema,
            seed=seed,
            checkpoint_seconds=checkpoint_seconds,
            eval_rows=rows_per_pass(flow.event_shape),
        )
        settings = asdict(config) | {"batch_size": batch_size, "device": device.type}
        settings |= {"flips": flips, "precision": precision, "memory": memory}
        if objective is not None:
            settings["objective"] = getattr(objective, "__qualname__", type(minimised).__qualname__)
        set_it_up = _needs_set_up(flow, initialize, resumed=bool(earlier))
        if folder is not None and writes:
            begin_run(
                folder, resume=resume, data=data.prints(), recipe=flow.recipe, settings=settings
            )
        beginning = begin(flow, data, seed, likelihood=likelihood) if set_it_up else Beginning()
        tell = _in_units(progress_callback(progress), flow, domain if likelihood else None)
        if beginning.start is not None and tell is not None and processes.first:
            tell(Progress(0, 0.0, math.nan, None, 0.0, note=beginning.start.reason))
        with stop_on_signals() as stop:  # until here there is nothing to save
            trainer = Trainer(
                objective=minimised.train(),
                batches=batches,
                config=config,
                valid=data.valid,
                processes=processes,
                folder=folder,
                names=data.names,
                stop=stop,
                tell=tell,
                show=(
                    SampleGrid(flow, folder, seed=seed, contexts=data.example_contexts())
                    if folder is not None and domain.drawn
                    else None
                ),
            )
            return _finish(
                trainer,
                flow,
                data=data,
                settings=settings,
                resume=resume,
                beginning=beginning,
            )


def _check(domain: Domain, *, flips: bool, precision: str, memory: str, objective: Any) -> None:
    if precision not in ("float32", "bfloat16"):
        raise ConfigError(f"precision must be float32 or bfloat16, got {precision!r}")
    if memory not in ("store", "invert"):
        raise ConfigError(f"memory must be store or invert, got {memory!r}")
    if flips and not domain.mirrored:
        raise ConfigError("flips=True mirrors images; this flow's events are not images (C, H, W)")
    if objective is not None and (flips or precision != "float32"):
        raise ConfigError(
            "flips and precision are options of maximum likelihood: leave them to the objective"
        )


def _needs_set_up(flow: Flow, initialize: bool | None, *, resumed: bool) -> bool:
    """Is the flow set up from the data? One that was trained before is not, unless asked for."""
    training = flow.card.training
    if resumed and training is not None and training.start is not None:
        undo(flow)  # the run begins again as it began, and its checkpoint has the rest
        return True
    return initialize or (initialize is None and training is None)


def _finish(
    trainer: Trainer,
    flow: Flow,
    *,
    data: Dataset,
    settings: dict[str, Any],
    resume: bool,
    beginning: Beginning,
) -> FitResult:
    """Train, keep the best weights, and save them with what happened."""
    folder = trainer.folder if trainer.processes.first else None
    try:
        with recomputing(flow) if settings["memory"] == "invert" else contextlib.nullcontext():
            state = trainer.run(resume)
    except TrainingError:
        if folder is not None and trainer.best:
            store.save(flow, folder)  # the best weights, which are finite
        raise
    start = _fall_back(trainer, flow, beginning) or beginning.start
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
    if folder is not None:
        store.save(flow, folder)
    return FitResult(
        flow=flow,
        history=trainer.metrics.history,
        best=best,
        rows=data.counts,
        steps=state.step,
        seconds=state.seconds,
        stopped=state.finished or "limit",
        signum=trainer.stop.signum,
        settings=settings,
        train_index=data.train_index,
        valid_index=data.valid_index,
        start=start,
    )


def _fall_back(trainer: Trainer, flow: Flow, beginning: Beginning) -> Start | None:
    """The Gaussian of the rows that the flow was set up on, where the flow ended above it."""
    state = trainer.state
    validator = trainer.validator
    rows = beginning.rows
    if rows is None or state.best is None or validator is None or state.finished == "signal":
        return None
    start = fall_back(
        flow,
        rows,
        seed=trainer.config.seed,
        best=state.best["loss"],
        validate=lambda: validator().loss,
    )
    if start is not None:
        result = validator()
        state.best = {"loss": result.loss, "se": result.se, "step": 0}
    trainer.objective.eval()
    return start


def _best(trainer: Trainer, *, loss: str) -> dict[str, float]:
    """Of the weights kept: their loss by its name, with its standard error, and their step."""
    best = trainer.state.best
    if trainer.validator is None or best is None:
        return {"step": trainer.state.step}
    return {loss: best["loss"], f"{loss}_se": best["se"], "step": best["step"]}


def _in_units(
    tell: Callable[[Progress], None] | None, flow: Flow, domain: Domain | None
) -> Callable[[Progress], None] | None:
    """The same, with losses in the unit of the kind of data; in that of the objective without."""
    if tell is None:
        return None
    unit = "(your objective)" if domain is None else domain.unit
    nats = 1.0 if domain is None else domain.units(flow.event_shape)

    def in_unit(p: Progress) -> None:
        valid = None if p.valid is None else p.valid / nats
        tell(replace(p, loss=p.loss / nats, valid=valid, unit=unit))

    return in_unit
