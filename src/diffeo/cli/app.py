"""Puts the verbs together and turns errors into one line and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NoReturn

import typer

from .. import __version__
from ..core.errors import DiffeoError, TrainingError
from ..core.memory import out_of_memory
from ..core.text import visible
from ..core.wording import spelled
from .check import check
from .demo import demo
from .edit import edit
from .evaluate import evaluate
from .fit import fit
from .guard import check_words, guarded
from .infer import infer
from .info import info
from .interpolate import interpolate
from .memory import shortage
from .reconstruct import reconstruct
from .sample import sample
from .score import score
from .signals import exits_on_signals
from .wording import as_option

__all__ = ["app", "main"]

UsageError: Any = typer.BadParameter.__base__  # of click, which typer carries with it
EPILOG = (
    "Start here:  [bold]diffeo demo[/]   or   [bold]diffeo fit table.csv --out model[/]   or  "
    " [bold]diffeo fit images/ --out model[/]\n\nExit codes: 0 done; 2 wrong usage or input; 1"
    " anything else; 129, 130 and 143 stopped by SIGHUP, SIGINT and SIGTERM after saving."
)

app = typer.Typer(
    name="diffeo",
    help=(
        "Normalizing flows: fit a density to a table or to images, then evaluate, score, sample and"
        " check it."
    ),
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
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


VERBS: dict[str, tuple[Callable[..., None], ...]] = {
    "Commands": (fit, evaluate, score, sample, check, info, demo),
    "Images": (interpolate, edit, reconstruct),
    "Log densities": (infer,),
}
for panel, verbs in VERBS.items():
    for verb in verbs:
        app.command(rich_help_panel=panel)(guarded(verb))


def main() -> None:
    """The entry point: every failure is one line on stderr, with DIFFEO_DEBUG=1 a traceback as
    well.
    """
    try:
        check_words(sys.argv[1:])
        with exits_on_signals(), _plain_warnings(), spelled(as_option):
            sys.exit(app(prog_name="diffeo", standalone_mode=False))
    except DiffeoError as error:
        _fail(error, 1 if isinstance(error, TrainingError) else 2)
    except UsageError as error:
        _fail_usage(error)
    except KeyboardInterrupt:
        _fail("stopped", 130)
    except BrokenPipeError:
        # the reader left: nothing more to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if out_of_memory(error):
            _fail(shortage(error), 1)
        if isinstance(error, OSError):
            _fail(f"{error.filename or 'system'}: {error.strerror or error}", 1)
        text = (str(error) or type(error).__name__).splitlines()[0]
        _fail(
            f"internal error ({type(error).__name__}): {text}; please report it with"
            " DIFFEO_DEBUG=1's traceback",
            1,
        )


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """A warning is one line as well."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_: f"diffeo: {_one_line(message)}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


def _fail_usage(error: Any) -> NoReturn:
    """What typer says in a box, in a line."""
    path = error.ctx.command_path if error.ctx is not None else "diffeo"
    said = error.format_message().strip().rstrip(".")
    if not said:  # without any words the help was shown
        sys.exit(2)
    _fail(f"{said} (see {path} --help)", 2)


def _fail(error: Any, code: int) -> NoReturn:
    if os.environ.get("DIFFEO_DEBUG"):
        traceback.print_exc()
    print(f"diffeo: {_one_line(error)}", file=sys.stderr)
    sys.exit(code)


def _one_line(words: Any) -> str:
    return visible(" ".join(str(words).split()))
