"""SIGTERM and SIGINT as a request to save and stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["StopRequest", "stop_on_signals"]


class StopRequest:
    """Which signal asked the run to stop, if any."""

    signum: int | None = None


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """While inside, the first SIGTERM or SIGINT is noted instead of ending the process; a second one acts as usual.

    Outside the main thread signals cannot be caught, and none are.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(signum: int, frame: FrameType | None) -> None:
        request.signum = signum
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
