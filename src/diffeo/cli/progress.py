"""Progress: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from ..training import Progress
from .common import say

__all__ = ["progress"]

EVERY = 5.0  # seconds between plain lines


@contextlib.contextmanager
def progress(quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """Yields the function to tell progress to, or None when quiet."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar() as tell:
            yield tell
    else:
        yield _lines()


def _words(p: Progress) -> str:
    valid = "" if p.valid is None else f"   held-out {p.valid:.4f}"
    return f"training {p.loss:.4f}{valid}   nats per row"


def _lines() -> Callable[[Progress], None]:
    last = [-EVERY]

    def tell(p: Progress) -> None:
        if time.monotonic() - last[0] >= EVERY or p.fraction >= 1:
            last[0] = time.monotonic()
            say(f"step {p.step:>6}  {min(1, p.fraction):4.0%}  {_words(p)}  {p.seconds:.0f} s")

    return tell


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("step {task.fields[step]}"), BarColumn(), TextColumn("{task.percentage:3.0f}%"))
    with Bar(*columns, TimeRemainingColumn(), TextColumn("{task.description}"), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1.0, step=0)
        yield lambda p: bar.update(task, completed=min(1.0, p.fraction), description=_words(p), step=p.step)
