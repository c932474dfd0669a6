"""Puts the verbs together and turns errors into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from .. import __version__
from ..core.errors import DiffeoError, TrainingError
from .check import check
from .demo import demo
from .edit import edit
from .evaluate import evaluate
from .fit import fit
from .infer import infer
from .info import info
from .interpolate import interpolate
from .reconstruct import reconstruct
from .sample import sample
from .score import score
from .signals import exits_on_signals

__all__ = ["app", "main"]

EPILOG = (
    "Start here:  [bold]diffeo demo[/]   or   [bold]diffeo fit table.csv --out model[/]   or   "
    "[bold]diffeo fit images/ --out model[/]\n\n"
    "Exit codes: 0 done; 2 wrong usage or input; 1 anything else; 129, 130 and 143 stopped by SIGHUP, SIGINT and SIGTERM "
    "after saving."
)

app = typer.Typer(
    name="diffeo",
    help="Normalizing flows: fit a density to a table or to images, then evaluate, score, sample and check it.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"diffeo {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


VERBS: dict[str, tuple[Callable[..., None], ...]] = {
    "Commands": (fit, evaluate, score, sample, check, info, demo),
    "Images": (interpolate, edit, reconstruct),
    "Log densities": (infer,),
}
for panel, verbs in VERBS.items():
    for verb in verbs:
        app.command(rich_help_panel=panel)(verb)


def main() -> None:
    """The entry point: every failure is one line on stderr, with DIFFEO_DEBUG=1 a traceback as well."""
    try:
        with exits_on_signals():
            app()
    except DiffeoError as error:
        _fail(error, 1 if isinstance(error, TrainingError) else 2)
    except KeyboardInterrupt:
        _fail("stopped", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left: nothing more to say
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename or 'system'}: {error.strerror or error}", 1)
    except MemoryError:
        _fail("not enough memory: use fewer rows, or a smaller model", 1)
    except Exception as error:
        text = (str(error) or type(error).__name__).splitlines()[0]
        _fail(f"internal error ({type(error).__name__}): {text}; please report it with DIFFEO_DEBUG=1's traceback", 1)


def _fail(error: Any, code: int) -> None:
    if os.environ.get("DIFFEO_DEBUG"):
        import traceback

        traceback.print_exc()
    print(f"diffeo: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(code)
