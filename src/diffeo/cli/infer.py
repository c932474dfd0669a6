"""`diffeo infer`: from a log density in a file of the user's to a posterior."""

from __future__ import annotations

import contextlib
import importlib.util
import json as json_
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import ConfigError
from ..core.files import write_atomic
from .options import Json, Seed, Threads, make_folder, use_threads
from .output import emit, finite, say
from .signals import saves_on_signals

if TYPE_CHECKING:
    from ..inference import Posterior

__all__ = ["infer"]

DECLARED = "parameters"  # what a module may say of its log density: names, shapes and supports
REGION = "inside"  # and where it is more than zero


def infer(
    density: Annotated[
        str,
        typer.Argument(
            help="FILE.py:NAME, log p̃ of a batch (B, D) -> (B,), or what `from_pyro` made.",
            metavar="FILE.py:NAME",
            show_default=False,
        ),
    ],
    *,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder for draws, figures and checkpoints.", show_default=False
        ),
    ],
    dim: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of entries D, unless FILE.py declares `parameters = {...}`.",
            show_default=False,
        ),
    ] = None,
    support: Annotated[
        str,
        typer.Option(
            help=(
                "real, positive, interval:LOW:HIGH, circular:LOW:HIGH, simplex ... of all of x"
                " (with --dim)."
            )
        ),
    ] = "real",
    effort: Annotated[
        str, typer.Option(help="auto, flow, particles, annealed, fab or mcmc.")
    ] = "auto",
    model: Annotated[
        str | None, typer.Option(help="nsf (default) or realnvp.", show_default=False)
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of the first attempt.")] = 2_000,
    batch_size: Annotated[int, typer.Option(min=2, help="Draws per training step.")] = 256,
    lr: Annotated[float, typer.Option(min=1e-8, help="Peak learning rate.")] = 2e-3,
    samples: Annotated[
        int, typer.Option("-n", "--number", min=100, help="Number of draws to weight and write.")
    ] = 10_000,
    scale: Annotated[
        float, typer.Option(min=1e-6, help="Spread to start from: as wide as the modes lie apart.")
    ] = 1.0,
    repeats: Annotated[
        int, typer.Option(min=1, help="Flows from other seeds, which must agree about log Z.")
    ] = 1,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            help="Maximum time in minutes (default: 10 with auto, else no limit).",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1 ...", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the attempts in OUT.")] = False,
    seed: Seed = 0,
    threads: Threads = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    json: Json = False,
) -> None:
    """Fit a flow to a log density, weigh its draws, say whether to trust them; writes OUT with a
    report.

    OUT gets draws.parquet, posterior.json and report.html.

    Example:  diffeo infer funnel.py:log_density --dim 10 --out funnel
    """
    from ..data import write_table
    from ..inference.infer import infer as run
    from ..models import default_model
    from .progress import progress

    use_threads(threads)
    # stdout is for the result alone, whatever the user's file prints
    with contextlib.redirect_stdout(sys.stderr):
        function, parameters, inside = _load(density)
        if (parameters is None) == (dim is None):
            raise ConfigError(
                f"{density}: give --dim D, or `{DECLARED} = {{...}}` in the file"
                if dim is None
                else _both(density)
            )
    make_folder(out)
    with saves_on_signals():
        with contextlib.redirect_stdout(sys.stderr), progress(quiet) as tell:
            posterior = run(
                function,
                parameters if parameters is not None else dim or 1,
                support=None if parameters is not None else support,
                effort=effort,  # type: ignore[arg-type]
                model=model or default_model("posterior"),
                steps=steps,
                batch_size=batch_size,
                lr=lr,
                samples=samples,
                scale=scale,
                repeats=repeats,
                minutes=minutes,
                device=device,
                inside=inside,
                seed=seed,
                out=out,
                resume=resume,
                progress=tell,
            )
        columns = posterior.space.flatten(posterior.sample(samples, seed=seed)).double().numpy()
        write_table(out / "draws.parquet", list(posterior.space.names), columns)
        result = {**posterior.as_dict(), "rows": len(columns), "out": str(out)}
        write_atomic(out / "posterior.json", json_.dumps(finite(result), indent=1).encode())
        result["report"] = _report(out, posterior, density)
        emit(result, json, _lines(posterior, out, result["report"]))


def _report(out: Path, posterior: Posterior, source: str) -> str | None:
    """Where the report is; None, with words on stderr, when it could not be drawn: the results are
    on disk by now.
    """
    try:
        from ..report import build_posterior_report

        return str(build_posterior_report(out, posterior, source=source))
    except Exception as error:
        say(
            f"the report could not be written ({type(error).__name__}: {error}); draws.parquet and"
            " posterior.json are complete"
        )
        return None


def _load(text: str) -> tuple[Callable[..., Any], Mapping[str, Any] | None, Any]:
    """The function of `FILE.py:NAME`, the parameters that the file declares or that come with a
    model of Pyro, `inside`.
    """
    from ..inference import PyroTarget

    name, colon, function = text.rpartition(":")
    path = Path(name)
    if not colon or path.suffix != ".py":
        raise ConfigError(f"{text}: write FILE.py:FUNCTION, such as model.py:log_density")
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    module = _run(path)
    target = getattr(module, function, None)
    if isinstance(target, PyroTarget):
        return target.log_density, target.parameters, getattr(module, REGION, None)
    if not callable(target):
        here = [n for n, v in vars(module).items() if _usable(v, module.__name__)]
        raise ConfigError(
            f"{path}: has no function {function!r}; it has {', '.join(here) or 'none'}"
        )
    declared = getattr(module, DECLARED, None)
    if declared is not None and not isinstance(declared, Mapping):
        raise ConfigError(
            f"{path}: `{DECLARED}` is a {type(declared).__name__}, not a mapping of names to shapes"
            " and supports"
        )
    return target, declared, getattr(module, REGION, None)


def _usable(value: object, module: str) -> bool:
    from ..inference import PyroTarget

    return isinstance(value, PyroTarget) or (
        callable(value) and getattr(value, "__module__", None) == module
    )


def _run(path: Path) -> ModuleType:
    """The user's file as a module, which may import its neighbours, as with pytest."""
    spec = importlib.util.spec_from_file_location(f"_diffeo_user_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look themselves up there
    sys.path.append(str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{path}: {type(error).__name__} while importing it: {error}") from error
    return module


def _neither(density: str) -> str:
    return f"{density}: give --dim D, or `{DECLARED} = {{...}}` in the file"


def _both(density: str) -> str:
    return f"{density}: its {DECLARED} are declared in the file, so leave --dim out"


def _lines(p: Posterior, out: Path, report: str | None) -> list[str]:
    d = p.diagnostics
    width = max(len(row["name"]) for row in p.summary() if isinstance(row["name"], str))
    rows = [
        f"  {row['name']:<{width}}  {row['mean']:11.4g} ± {row['sd']:.4g}"
        for row in p.summary()[:40]
    ]
    said = [
        "The draws can be trusted." if p.trusted else "The draws FAILED the diagnostics.",
        *(f"  {w}" for w in p.warnings),
    ]
    if p.trusted and p.warnings:
        said.insert(1, "What spoke against earlier attempts, and what was counted:")
    figures = (
        f"log Z {d.log_z:.4f} ± {d.log_z_se:.4f}   ELBO {d.elbo:.4f}   ESS {d.ess:.1%}   k-hat"
        f" {d.k_hat:.2f}"
    )
    files = [f"draws    {out / 'draws.parquet'}", *([f"report   {report}"] if report else [])]
    return [*said, figures, *rows, *files]
