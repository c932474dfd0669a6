"""How a command ends by a signal: exit code 128 + its number, after saving where there is something
to save.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..runs import StopRequest

__all__ = ["exits_on_signals", "saves_on_signals"]


@contextlib.contextmanager
def saves_on_signals() -> Iterator[StopRequest]:
    """Inside, a first signal ends training, which saves; what it came to is still said; then the
    command exits.
    """
    from ..runs import stop_on_signals

    with stop_on_signals(send_again=False) as stop:
        yield stop
    if stop.signum is not None:
        raise typer.Exit(128 + stop.signum)


@contextlib.contextmanager
def exits_on_signals() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP raise SystemExit as SIGINT does KeyboardInterrupt, so that
    temporary files are removed.
    """
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler is signal.SIG_DFL}
    for number in before:
        signal.signal(number, _leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)
