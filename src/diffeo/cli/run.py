"""One run of `diffeo fit`: read, then train and report. What differs between kinds of data is a
`Job`.
"""

from __future__ import annotations

import contextlib
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..core.errors import ConfigError
from .options import make_folder
from .output import say

if TYPE_CHECKING:
    from ..flow import Flow
    from ..training import FitResult
    from .config import RunConfig
    from .fit_images import ImageJob
    from .fit_table import TableJob

__all__ = ["Job", "jobs", "read_job", "run_job"]


class Job(Protocol):
    """Data that were read, and what they ask of a model, of training and of a report."""

    def describe(self) -> list[str]:
        """What was read, for people."""

    def flow(self) -> Flow:
        """The model, not yet trained."""

    def training(self) -> dict[str, Any]:
        """The arguments of `diffeo.fit` that depend on the data."""

    def headline(self, summary: dict[str, Any]) -> list[str]:
        """The held-out figure, for people; may add to the summary for programs."""

    def report(
        self, out: Path, flow: Flow, result: FitResult, *, summary: dict[str, Any]
    ) -> list[str]:
        """Write the report, add to the summary, and say more for people."""


def read_job(data: Any, out: Path, config: RunConfig, *, resume: bool, quiet: bool) -> Job:
    """Read the data and note the settings in the folder; nothing is lost when this is
    interrupted.
    """
    from .config import remember

    with _made(out):
        job = _open(data, out, config)
        if not resume:
            remember(config, out)
    if not quiet:
        say(*job.describe())
    return job


def run_job(
    job: Job, out: Path, config: RunConfig, *, resume: bool, quiet: bool
) -> tuple[dict[str, Any], list[str]]:
    """Train and report: the result for `--json`, and the lines for people."""
    from ..checkup import DensityWarning
    from ..training import fit as train
    from .progress import progress

    flow = job.flow()
    with progress(quiet) as tell, warnings.catch_warnings():
        warnings.simplefilter("ignore" if quiet else "default")
        # the command says it by itself, from more rows
        warnings.simplefilter("ignore", DensityWarning)
        result = train(
            flow,
            **job.training(),
            steps=config.steps,
            epochs=config.epochs,
            minutes=config.minutes,
            patience=config.patience,
            eval_every=config.eval_every,
            ema=config.ema,
            clip=config.clip,
            memory=config.memory,
            seed=config.seed,
            out=out,
            resume=resume,
            progress=tell,
            device=_device(config.device),
        )
    summary = _summary(result, out)
    lines = job.headline(summary)
    if config.report and result.signum is None:
        lines += job.report(out, flow.to("cpu"), result, summary=summary)
    return summary, lines


def _open(data: Any, out: Path, config: RunConfig) -> Job:
    from ..domains import of_source

    return jobs()[of_source(data).name].read(data, out, config)


def jobs() -> dict[str, type[ImageJob] | type[TableJob]]:
    """The `Job` of each kind of data that is read from files."""
    from .fit_images import ImageJob
    from .fit_table import TableJob

    return {"table": TableJob, "image": ImageJob}


def _summary(result: FitResult, out: Path) -> dict[str, Any]:
    flow = result.flow
    return {
        "nll": result.best.get("nll"),
        "nll_se": result.best.get("nll_se"),
        "rows": result.rows["valid"],
        "train_rows": result.rows["train"],
        "steps": result.steps,
        "best_step": result.best.get("step"),
        "seconds": round(result.seconds, 3),
        "stopped": result.stopped,
        "bound": not flow.exact,
        "start": None if result.start is None else result.start.as_dict(),
        "model": flow.card.model,
        "parameters": sum(p.numel() for p in flow.parameters()),
        "out": str(out),
    }


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder and hold its lock; when reading the data fails, do not leave an empty one
    behind.
    """
    from ..runs import lock_folder

    new = not folder.exists()
    make_folder(folder)
    try:
        # so that a run that has the folder keeps its options and its list of rejects
        with lock_folder(folder):
            yield
    except BaseException:  # also when interrupted
        if new and {path.name for path in folder.iterdir()} <= {".lock", "cache"}:
            shutil.rmtree(folder)
        raise


def _device(name: str) -> str:
    import torch

    available = {"cpu": True, "cuda": torch.cuda.is_available()}
    if name.startswith("mps"):
        raise ConfigError(
            "--device mps: models keep float64 buffers, which MPS does not have: use cpu"
        )
    if name == "auto":
        return "cuda" if available["cuda"] else "cpu"
    if not available.get(name.split(":")[0], False):
        raise ConfigError(
            f"--device {name}: not available here; use auto or one of"
            f" {[d for d, ok in available.items() if ok]}"
        )
    return name
