"""SIGINT, SIGTERM and SIGHUP as a request to save and stop."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ["StopRequest", "stop_on_signals"]

# Windows has no SIGHUP
STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
# seconds within which signals are one request: `make`, `timeout` and schedulers send several
SAME = 2.0


class StopRequest:
    """Which signal asked the run to stop, if any."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self.at = 0.0

    def note(self, signum: int) -> None:
        """Take a signal: the first is the request; a SIGINT that comes later than `SAME` seconds
        raises KeyboardInterrupt.
        """
        now = time.monotonic()
        if self.signum is None:
            self.signum = signum
            self.at = now
        elif signum == signal.SIGINT and now - self.at > SAME:
            raise KeyboardInterrupt


_active: StopRequest | None = None  # of the main thread


@contextlib.contextmanager
def stop_on_signals(send_again: bool = True) -> Iterator[StopRequest]:
    """Inside, SIGINT, SIGTERM and SIGHUP are noted; afterwards the one noted is sent again to the
    handlers from before.

    So a process without handlers saves and then ends by the signal (SIGINT raises
    KeyboardInterrupt), and handlers of a user's get it once all is saved. With `send_again=False`
    nothing follows: the caller looks at `signum`. More signals within two seconds are the same
    request, also SIGTERM and SIGHUP later; a SIGINT after that stops without saving. Ignored
    signals stay ignored (nohup). One such context within another takes part in the outer request.
    Outside the main thread signals cannot be caught, and none are.
    """
    global _active
    if threading.current_thread() is not threading.main_thread():
        yield StopRequest()
        return
    if _active is not None:
        yield _active
        return
    _active = StopRequest()
    before = _install(_active)
    try:
        yield _active
    finally:
        request, _active = _active, None
        _restore(before)
        if send_again and request.signum is not None:
            _send_again(request.signum)


def _install(request: StopRequest) -> dict[int, Any]:
    """Note signals in `request`; the handlers from before, of those that were not ignored or set
    outside Python.
    """
    before = {number: signal.getsignal(number) for number in STOPS}
    before = {
        number: handler
        for number, handler in before.items()
        if handler not in (signal.SIG_IGN, None)
    }
    process = os.getpid()

    def note(signum: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            request.note(signum)
        else:  # a child, such as a worker that loads data, has nothing to save
            signal.signal(signum, before[signum])
            signal.raise_signal(signum)

    for number in before:
        signal.signal(number, note)
    return before


def _restore(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)


def _send_again(signum: int) -> None:
    error = sys.exception()
    if isinstance(error, KeyboardInterrupt):  # a second SIGINT is on its way out already
        return
    if error is not None and signal.getsignal(signum) is signal.SIG_DFL:
        # why it could not save: the end of the process would hide it
        traceback.print_exception(error)
    signal.raise_signal(signum)
