"""OpenMP's threads, which are those of PyTorch: they sleep when they have waited for a moment."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading

import torch

__all__ = ["wait_asleep"]


def wait_asleep() -> None:
    """Let waiting threads sleep after a thousand looks, some 50 microseconds, instead of 300,000.

    GNU's library, which PyTorch brings along, has them wait awake for longer than a system lets a
    program run at a time. On a machine that does other work as well they take the processor from
    those that they wait for: a training step of 50 parallel loops takes twenty times as long. The
    library does better where a process has more threads than processors. So a thread is started
    that begins a team as large as it takes, and keeps it.

    Without effect where OMP_WAIT_POLICY or GOMP_SPINCOUNT says what is wanted, and with other
    OpenMP libraries.
    """
    if {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        return
    try:
        library = ctypes.CDLL(None)
        begin, nothing, count = library.GOMP_parallel, library.free, library.omp_get_num_procs()
    except (AttributeError, OSError, TypeError):
        return
    team = max(2, count - torch.get_num_threads() + 2)

    def run() -> None:
        # each thread of the team calls free(NULL)
        begin(nothing, None, ctypes.c_uint(team), ctypes.c_uint(0))
        threading.Event().wait()

    with contextlib.suppress(RuntimeError):  # the system gives no more threads
        threading.Thread(target=run, name="diffeo-openmp", daemon=True).start()
