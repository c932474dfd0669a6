"""Progress: a bar on a terminal, the plain lines of training elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from ..core.text import visible
from ..training import Progress

__all__ = ["progress"]


@contextlib.contextmanager
def progress(quiet: bool) -> Iterator[Callable[[Progress], None] | bool]:
    """Yields what `fit` takes as its `progress`."""
    if not quiet and sys.stderr.isatty():
        with _bar() as tell:
            yield tell
    else:
        yield not quiet


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("step {task.fields[step]}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
    )
    # names of columns are in it, brackets and all
    words = TextColumn("{task.description}", markup=False)
    with Bar(*columns, TimeRemainingColumn(), words, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1.0, step=0)
        yield lambda p: bar.update(
            task, completed=min(1.0, p.fraction), description=visible(str(p)), step=p.step
        )
