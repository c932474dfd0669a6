"""`diffeo fit`: from a table to a trained model."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import ConfigError, DiffeoError
from .common import Data, Json, Threads, emit, say, tensors, use_threads

if TYPE_CHECKING:
    from ..data import Table
    from ..flow import Flow
    from .config import RunConfig

__all__ = ["build_flow", "fit", "run_fit"]

EXAMPLES = """
Examples:

  diffeo fit table.csv --out model

  diffeo fit table.csv --out model --minutes 5 --column age=positive --column angle=circular:0:360 --drop name

  diffeo fit table.parquet --out model --context dose,site          # p(other columns | dose, site)

  diffeo fit table.csv --out model --model realnvp --set layers=12 --set "hidden=[256, 256]"

  diffeo fit table.csv --out model --resume                         # after an interruption: same options, same result

MODEL gets the weights, metrics.jsonl, report.html and, when rows were bad, rejects.csv.
"""


def fit(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model; made if missing.", show_default=False)],
    model: Annotated[str | None, typer.Option(help="nsf (default), realnvp or nice.", show_default=False)] = None,
    steps: Annotated[int | None, typer.Option(help="Stop after so many steps.", show_default=False)] = None,
    epochs: Annotated[float | None, typer.Option(help="Stop after so many passes.", show_default=False)] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after so long.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of split, weights and batches [default: 0].", show_default=False)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in MODEL, bit for bit.")] = False,
    context: Annotated[
        str | None, typer.Option(help="Columns to condition on, comma-separated.", metavar="COLS", show_default=False)
    ] = None,
    valid: Annotated[
        Path | None, typer.Option(help="Table of held-out rows [default: a tenth of DATA].", show_default=False)
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="Kind of a column: NAME=real, positive, integer, interval:LOW:HIGH or circular:LOW:HIGH. Repeatable.",
            metavar="NAME=KIND",
            show_default=False,
        ),
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Leave a column out. Repeatable.", show_default=False)] = None,
    max_bad: Annotated[
        float | None, typer.Option(help="Largest share of unusable rows to accept [default: 0.01].", show_default=False)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows per step [default: by table size].", show_default=False)] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate [default: 1e-3].", show_default=False)] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with any of these options.", show_default=False)] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Any setting of the model or the training. Repeatable.", metavar="KEY=VALUE", show_default=False
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto (default), cpu or cuda.", show_default=False)] = None,
    threads: Threads = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Do not write report.html.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    json: Json = False,
) -> None:
    from .config import collect

    options = {
        "model": model,
        "steps": steps,
        "epochs": epochs,
        "minutes": minutes,
        "seed": seed,
        "context": [name.strip() for name in context.split(",")] if context else None,
        "valid": valid,
        "columns": dict(_pair(text) for text in column or []),
        "drop": drop,
        "max_bad": max_bad,
        "batch_size": batch_size,
        "lr": lr,
        "device": device,
        "threads": threads,
        "report": False if no_report else None,
    }
    settings = collect(config, set_ or [], options, out if resume else None)
    use_threads(settings.threads)
    summary, lines, signum = run_fit(data, out, settings, resume=resume, quiet=quiet)
    emit(summary, json, lines)
    if signum is not None:
        raise typer.Exit(128 + signum)


fit.__doc__ = f"Train a flow on a table and write MODEL with a report.\n{EXAMPLES}"


def run_fit(
    data: Any, out: Path, config: RunConfig, *, resume: bool, quiet: bool
) -> tuple[dict[str, Any], list[str], int | None]:
    """Read, train, report: the result for `--json`, the lines for people, and the signal that stopped it if any."""
    from ..data import read_table
    from ..training import fit as train
    from .config import remember
    from .progress import progress

    with _made(out):
        table = read_table(
            data,
            columns=config.columns,
            context=config.context,
            drop=config.drop,
            max_bad=config.max_bad,
            rejects=out / "rejects.csv",
        )
        if not resume:
            remember(config, out)
    if not quiet:
        say(*table.describe())
    held_out = None if config.valid is None else read_table(config.valid, schema=table.schema, max_bad=config.max_bad)
    flow, advice = build_flow(table, config)
    with progress(quiet) as tell, warnings.catch_warnings():
        warnings.simplefilter("ignore" if quiet else "default")
        result = train(
            flow,
            table,
            valid=config.valid_share if held_out is None else held_out,
            steps=config.steps,
            epochs=config.epochs,
            minutes=config.minutes,
            batch_size=config.batch_size or advice.batch_size,
            lr=config.lr or advice.lr,
            weight_decay=config.weight_decay if config.weight_decay is not None else advice.weight_decay,
            patience=config.patience,
            eval_every=config.eval_every,
            ema=config.ema,
            clip=config.clip,
            seed=config.seed,
            out=out,
            resume=resume,
            progress=tell,
            device=_device(config.device),
        )
    summary: dict[str, Any] = {
        "nll": result.best.get("nll"),
        "nll_se": result.best.get("nll_se"),
        "rows": result.rows["valid"],
        "train_rows": result.rows["train"],
        "steps": result.steps,
        "best_step": result.best.get("step"),
        "seconds": round(result.seconds, 3),
        "stopped": result.stopped,
        "bound": not flow.exact,
        "model": config.model,
        "parameters": sum(p.numel() for p in flow.parameters()),
        "out": str(out),
    }
    lines = _headline(summary)
    if config.report and result.signum is None:
        lines += _report(out, flow.to("cpu"), table, result, held_out, summary)
    return summary, lines, result.signum


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder and hold its lock; when reading the table fails, do not leave an empty one behind."""
    from ..training.lock import locked

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot make this folder: {error.strerror}") from None
    try:
        with locked(folder):  # so that a run that has the folder keeps its options and its list of rejects
            yield
    except DiffeoError:
        if {path.name for path in folder.iterdir()} <= {".lock"}:
            (folder / ".lock").unlink(missing_ok=True)
            folder.rmdir()
        raise


def build_flow(table: Table, config: RunConfig) -> tuple[Flow, Any]:
    """A flow for a table, its size by `recommend` unless set."""
    from ..models import MODELS
    from ..training import recommend

    columns, contexts = len(table.schema.columns), len(table.schema.context)
    advice = recommend(len(table), columns, contexts)
    args = advice.model_args(config.model) | config.model_args
    try:
        flow = MODELS[config.model](
            (columns,), (contexts,) if contexts else None, **args, supports=list(table.schema.supports), seed=config.seed
        )
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        if isinstance(error, DiffeoError):
            raise
        raise ConfigError(f"--set: {config.model} cannot be built from {config.model_args}: {error}") from None
    flow.metadata = {"schema": table.schema.model_dump(mode="json"), "source": table.source}
    return flow, advice


def _report(out: Path, flow: Flow, table: Table, result: Any, held_out: Any, summary: dict[str, Any]) -> list[str]:
    from ..checkup import check as measure
    from ..report import build_report

    rows, contexts = tensors(held_out if held_out is not None else table)
    checkup = measure(flow, rows, contexts)
    path, headline = build_report(out, flow, table, result, checkup=checkup, held_out=held_out, seed=0)
    beside: dict[str, Any] = {name: headline[name] for name in _NAMES if name in headline}
    summary |= {**beside, "report": str(path), "check": checkup.ok}
    lines = [f"  {_NAMES[name]:<26} {b['nll']:10.4f} ± {b['nll_se']:.4f}" for name, b in beside.items()]
    return [*lines, checkup.verdict, f"report   {path}"]


_NAMES = {"gaussian": "full-covariance Gaussian", "kde": "kernel density estimate"}


def _headline(s: dict[str, Any]) -> list[str]:
    if s["nll"] is None:
        return [f"trained on {s['train_rows']:,} rows for {s['steps']:,} steps; no rows were held out", f"model    {s['out']}"]
    bound = " (an upper bound: integer columns are dequantised)" if s["bound"] else ""
    return [
        f"model    {s['out']}   ({s['parameters']:,} parameters, {s['steps']:,} steps, {s['seconds']:.0f} s, {s['stopped']})",
        f"negative log-likelihood of {s['rows']:,} held-out rows, nats per row{bound}",
        f"  {s['model']:<26} {s['nll']:10.4f} ± {s['nll_se']:.4f}",
    ]


def _pair(text: str) -> tuple[str, str]:
    name, equals, kind = text.rpartition("=")
    if not equals:
        raise ConfigError(f"--column {text}: write NAME=KIND, such as --column age=positive")
    return name, kind


def _device(name: str) -> str:
    import torch

    available = {"cpu": True, "cuda": torch.cuda.is_available()}
    if name.startswith("mps"):
        raise ConfigError("--device mps: tables are float64, which MPS does not have: use cpu")
    if name == "auto":
        return "cuda" if available["cuda"] else "cpu"
    if not available.get(name.split(":")[0], False):
        raise ConfigError(f"--device {name}: not available here; use auto or one of {[d for d, ok in available.items() if ok]}")
    return name
