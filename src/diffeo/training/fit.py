"""`fit`: from a flow and data to a trained flow."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import store
from ..core.errors import CheckpointError, ConfigError, DataError, ShapeError
from ..core.files import write_atomic
from ..flow import Flow
from .arrays import Rows, as_rows
from .defaults import recommend
from .fingerprint import difference, fingerprint
from .lock import locked
from .loop import Loop, LoopConfig, Progress
from .objectives import NegativeLogLikelihood
from .sampler import ArrayBatches, Batches, StreamBatches, mix
from .signals import StopRequest, stop_on_signals
from .world import World

__all__ = ["FitResult", "fit"]

SET_UP_ROWS = 65_536  # rows that data-dependent set-up looks at
CHANGEABLE = ("steps", "minutes", "patience", "checkpoint_seconds", "eval_rows")  # may differ on resume


@dataclass(frozen=True)
class FitResult:
    """A trained flow with what happened on the way."""

    flow: Flow
    history: list[dict[str, Any]]
    """The lines of `metrics.jsonl`; losses in nats per row."""
    best: dict[str, float]
    """`nll`, `nll_se` on the validation rows and the `step` of the weights kept."""
    rows: dict[str, int]
    """How many rows were trained and validated on."""
    steps: int
    seconds: float
    stopped: str
    """`limit`, `patience` or `signal`."""
    signum: int | None
    settings: dict[str, Any]
    train_index: Tensor | None
    valid_index: Tensor | None


def fit(
    flow: Flow,
    x: Any,
    context: Any = None,
    *,
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
    warmup: int = 100,
    eval_every: int | None = None,
    checkpoint_seconds: float = 20.0,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool | Callable[[Progress], None] = False,
    device: str | torch.device | None = None,
    initialize: bool | None = None,
) -> FitResult:
    """Maximum likelihood: minimise −mean log p(x | c) by AdamW with warm-up, cosine decay, clipping and an EMA.

    `x` is (N, \\*event): a tensor, array, `Table`, data frame or path; or an iterable of batches (x or (x, context)).
    `valid` is the share of rows held out by `seed`, or rows, or (rows, contexts); the weights kept are the EMA's best on
    them. Limits not given are chosen from the size of the data; so are batch size, learning rate and patience
    (`diffeo.training.recommend`). With `out`, checkpoints, `metrics.jsonl` and at the end the model go there; `resume`
    goes on from the newest checkpoint, bit for bit as if never interrupted. A flow that was trained before is not set
    up (standardised) again unless `initialize=True`.

    Raises `DataError` for rows that cannot be used, `CheckpointError` when the folder is in use or of other data or
    settings, `TrainingError` when the loss stays non-finite; the flow's weights are finite even then.

    >>> import torch, diffeo
    >>> result = diffeo.fit(diffeo.models.nsf((2,), layers=2), torch.randn(500, 2), steps=50)
    >>> result.best["nll"] < 3.5
    True
    """
    place = torch.device(device) if device is not None else flow.device
    flow.to(place)
    folder = None if out is None else Path(out)
    with _own_random_numbers(), stop_on_signals() as stop, locked(folder) if folder else contextlib.nullcontext():
        world = World.join(place)
        data = _Data.of(flow, x, context, valid, seed, place)
        count, columns = data.size, sum(1 for _ in range(flow.event_shape[0])) if flow.event_shape else 1
        advice = recommend(count, columns)
        batch = batch_size if batch_size is not None else advice.batch_size
        batches = data.batches(batch, seed, world)
        limit = _steps(steps, epochs, minutes, batches.steps_per_epoch, advice.steps)
        config = LoopConfig(
            steps=limit,
            minutes=minutes,
            lr=lr if lr is not None else advice.lr,
            eval_every=eval_every or (max(1, min(500, limit // 100)) if limit else advice.eval_every),
            patience=patience if patience is not None else (advice.patience if steps is None and epochs is None else None),
            weight_decay=weight_decay if weight_decay is not None else advice.weight_decay,
            warmup=min(warmup, (limit or 1000) // 10),
            clip=clip,
            ema=ema,
            seed=seed,
            checkpoint_seconds=checkpoint_seconds,
        )
        settings = asdict(config) | {"batch_size": batch, "device": place.type}
        if folder is not None:
            _same_run(folder, resume, data.prints(), flow.recipe, settings)
        if initialize or (initialize is None and "training" not in flow.metadata):
            data.set_up(flow, seed)
        loop = Loop(
            NegativeLogLikelihood(flow).train(),
            batches,
            data.valid,
            config,
            world,
            folder,
            data.names,
            stop,
            progress if callable(progress) else _lines if progress else None,
        )
        return _finish(loop, data, folder, settings, resume, stop)


def _finish(loop: Loop, data: _Data, folder: Path | None, settings: dict[str, Any], resume: bool, stop: StopRequest) -> FitResult:
    flow = loop.objective.flow
    assert isinstance(flow, Flow)
    state = loop.run(resume)
    best = {"nll": state.best["loss"], "nll_se": state.best["se"], "step": state.best["step"]} if state.best else {}
    if data.valid is None:
        best = {"step": state.step}
    flow.metadata = {
        **flow.metadata,
        "training": {"best": best, "rows": data.counts, "steps": state.step, "stopped": state.finished, "settings": settings},
    }
    if folder is not None and loop.world.first:
        store.save(flow, folder)
    return FitResult(
        flow=flow,
        history=loop.diary.history,
        best=best,
        rows=data.counts,
        steps=state.step,
        seconds=state.seconds,
        stopped=state.finished or "limit",
        signum=stop.signum,
        settings=settings,
        train_index=data.train_index,
        valid_index=data.valid_index,
    )


@dataclass
class _Data:
    """Training and validation rows on the training device, or a stream of batches."""

    train: list[Tensor] | None
    valid: list[Tensor] | None
    stream: Iterable[Any] | None
    names: list[str] | None
    train_index: Tensor | None
    valid_index: Tensor | None
    place: torch.device

    @classmethod
    def of(cls, flow: Flow, x: Any, context: Any, valid: Any, seed: int, place: torch.device) -> _Data:
        rows = as_rows(x, context)
        if rows is None:
            held = None if isinstance(valid, (int, float)) else _held_out(valid)
            held_rows = None if held is None else [t.to(place) for t in held.tensors]
            return cls(None, held_rows, x, None, None, None, place)
        _check(flow, rows)
        if isinstance(valid, (int, float)) and not isinstance(valid, bool):
            train_index, valid_index = _split(len(rows.x), float(valid), seed)
            parts = [[t[index].to(place) for t in rows.tensors] for index in (train_index, valid_index)]
            return cls(parts[0], parts[1] if len(valid_index) else None, None, rows.names, train_index, valid_index, place)
        held = None if valid is None else _held_out(valid)
        if held is not None:
            _check(flow, held)
        train = [t.to(place) for t in rows.tensors]
        return cls(
            train,
            None if held is None else [t.to(place) for t in held.tensors],
            None,
            rows.names,
            torch.arange(len(rows.x)),
            None,
            place,
        )

    @property
    def size(self) -> int:
        return len(self.train[0]) if self.train is not None else 10_000

    @property
    def counts(self) -> dict[str, int]:
        return {
            "train": len(self.train[0]) if self.train is not None else 0,
            "valid": len(self.valid[0]) if self.valid is not None else 0,
        }

    def batches(self, size: int, seed: int, world: World) -> Batches:
        if self.train is None or self.train_index is None:
            assert self.stream is not None
            return StreamBatches(self.stream, self.place)
        return ArrayBatches(self.train, self.train_index, size, seed, (world.rank, world.size))

    def prints(self) -> dict[str, Any]:
        parts = {"training": self.train, "validation": self.valid}
        return {
            f"{what} {kind}": fingerprint(t, self.names if i == 0 else None)
            for what, tensors in parts.items()
            for i, (kind, t) in enumerate(zip(("rows", "contexts"), tensors or [], strict=False))
        }

    def set_up(self, flow: Flow, seed: int) -> None:
        """Data-dependent set-up from training rows only."""
        if self.train is not None:
            some = self.train
            if len(some[0]) > SET_UP_ROWS:
                order = torch.randperm(len(some[0]), generator=torch.Generator().manual_seed(mix(seed, 4)))[:SET_UP_ROWS]
                some = [t[order.to(t.device)] for t in some]
        else:
            some = list(StreamBatches(self.stream or [], self.place).batch(0))
        flow.initialize(*some)


def _held_out(valid: Any) -> Rows:
    rows = as_rows(*valid) if isinstance(valid, tuple) else as_rows(valid, None)
    if rows is None:
        raise DataError("valid= takes a share such as 0.1, rows, or (rows, contexts)")
    return rows


def _split(rows: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    if not 0 <= share < 1:
        raise ConfigError(f"the share of validation rows must lie in [0, 1), got {share}")
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(mix(seed, 0)))
    count = 0 if share == 0 else min(max(1, round(share * rows)), 50_000, rows - 1)
    return order[count:].sort().values, order[:count].sort().values


def _check(flow: Flow, rows: Rows) -> None:
    if tuple(rows.x.shape[1:]) != flow.event_shape:
        raise ShapeError(f"the rows have shape {tuple(rows.x.shape[1:])}, the flow's event shape is {flow.event_shape}")
    if len(rows.x) < 2:
        raise DataError(f"{len(rows.x)} row is too few to train on: at least 2 are needed")
    for what, tensor in zip(("row", "context row"), rows.tensors, strict=False):
        if len(tensor) != len(rows.x):
            raise DataError(f"{len(rows.x)} rows but {len(tensor)} contexts: one context a row is needed")
        bad = (~tensor.flatten(1).isfinite()).nonzero()
        if len(bad):
            row, column = bad[0].tolist()
            name = rows.names[column] if rows.names and what == "row" else column
            raise DataError(f"{what} {row}, column {name!r}: not a finite number; remove or fill such rows first")


def _steps(steps: int | None, epochs: float | None, minutes: float | None, per_epoch: int | None, default: int) -> int | None:
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


def _same_run(folder: Path, resume: bool, prints: dict[str, Any], recipe: Any, settings: dict[str, Any]) -> None:
    """Note what a run is made from; on resume, refuse when it differs, naming the difference."""
    path = folder / "run.json"
    now = {"data": prints, "recipe": recipe, "settings": {k: v for k, v in settings.items() if k not in CHANGEABLE}}
    now = json.loads(json.dumps(now))
    if resume and path.exists():
        try:
            before = json.loads(path.read_text())
        except (OSError, ValueError):
            raise CheckpointError(f"{path}: damaged; start again without --resume") from None
        for what in {**before["data"], **now["data"]}:
            if what not in before["data"] or what not in now["data"]:
                raise CheckpointError(f"{folder}: cannot resume: {what} were given in only one of the two runs")
            if changed := difference(before["data"][what], now["data"][what]):
                raise CheckpointError(f"{folder}: cannot resume: the {what} have changed: {changed}")
        for key in ("recipe", "settings"):
            old, new = _flat(before[key]), _flat(now[key])
            for name in {**old, **new}:
                if old.get(name) != new.get(name):
                    raise CheckpointError(
                        f"{folder}: cannot resume: {name} was {old.get(name)} and is now {new.get(name)}; "
                        "give the same settings, or start again without --resume"
                    )
        return
    if not resume and (folder / "checkpoints").exists():
        import shutil

        shutil.rmtree(folder / "checkpoints")  # of an earlier run that this one replaces
    try:
        write_atomic(path, json.dumps(now, indent=1).encode())
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot write here: {error.strerror or error}") from None


def _flat(tree: Any) -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {}
    inner = {k: v for value in tree.values() if isinstance(value, dict) for k, v in value.items()}
    return {k: v for k, v in tree.items() if not isinstance(v, dict)} | inner


@contextlib.contextmanager
def _own_random_numbers() -> Iterator[None]:
    """Training seeds the global generator at every step; afterwards it is as it was."""
    with torch.random.fork_rng():
        yield


def _lines(p: Progress) -> None:
    valid = "" if p.valid is None else f"  valid {p.valid:.4f}"
    print(f"step {p.step}  {p.fraction:4.0%}  loss {p.loss:.4f}{valid}  {p.seconds:.0f} s", file=sys.stderr)
