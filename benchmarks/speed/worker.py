"""The side of a contender: builds it from the settings on the command line, says what it is and
that it learns, then times what it is asked to on stdin and answers on stdout. Needs numpy only."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

__all__ = ["RATE", "Contender", "Settings", "Skip", "serve"]

Settings = SimpleNamespace
RATE = 1e-4  # Adam's
CHECK_STEPS, CHECK_ROWS = 50, 256


class Skip(Exception):
    """This contender cannot take part in this row; the message says why."""


@dataclass(frozen=True)
class Contender:
    """What a library computes. Calls return when the result is there; arrays are the library's
    own.
    """

    version: str
    parameters: int
    load: Callable[[np.ndarray], Any]
    step: Callable[[Any], float]  # forward, backward, Adam; the loss before it
    log_prob: Callable[[Any], Any]
    sample: Callable[[int], Any]
    note: str = ""  # how it differs from the layout asked for
    density: bool = True


def serve(build: Callable[[Settings], Contender]) -> None:
    """Run the worker: one JSON object of facts, then one number a request, until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end with the asker
    os.dup2(2, 1)  # what libraries print must not be taken for an answer
    settings = Settings(**json.loads(sys.argv[1]))
    try:
        contender = build(settings)
        facts = check(contender, settings)
    except Skip as reason:
        facts = {"skipped": str(reason)}
    print(json.dumps(facts), file=answers, flush=True)
    x = None if "skipped" in facts else contender.load(rows(settings, settings.batch))
    for line in sys.stdin:
        job, repeats = line.split()
        print(
            peak() if job == "peak" else timed(contender, settings, job, x, int(repeats)),
            file=answers,
            flush=True,
        )


def rows(settings: Settings, count: int) -> np.ndarray:
    """The same data for everyone: bent and correlated vectors, standardised; images of uniform
    noise.
    """
    rng = np.random.default_rng(0)
    if len(settings.shape) > 1:
        return rng.random((count, *settings.shape), dtype=np.float32)
    x = rng.standard_normal((count, *settings.shape))
    x[:, 1::2] += x[:, 0:-1:2] ** 2
    return ((x - x.mean(0)) / x.std(0)).astype(np.float32)


def check(contender: Contender, settings: Settings) -> dict[str, Any]:
    """Does it compute what everyone computes? On few rows, so that no job's memory or time depends
    on it; of the jobs of the row alone, because compiling others takes long."""
    before, count = peak(), min(settings.batch, CHECK_ROWS)
    x = contender.load(rows(settings, count))
    losses = [contender.step(x) for _ in range(CHECK_STEPS)]
    facts = {
        "version": contender.version,
        "parameters": contender.parameters,
        "note": contender.note,
        "density": contender.density,
        "losses": [loss if np.isfinite(loss) else None for loss in (losses[0], losses[-1])],
        "idle_peak": before,
    }
    if contender.density and "sample" in settings.jobs:
        drawn = contender.sample(count)
        facts["log_prob_shape"] = list(contender.log_prob(x).shape) == [count]
        facts["sample_shape"] = list(drawn.shape) == [count, *settings.shape]
        facts["own_finite"] = float(np.isfinite(np.asarray(contender.log_prob(drawn))).mean())
    return facts


def timed(contender: Contender, settings: Settings, job: str, x: Any, repeats: int) -> float:
    """Milliseconds per call."""
    argument = settings.batch if job == "sample" else x
    call = getattr(contender, job)
    start = time.perf_counter()
    for _ in range(repeats):
        call(argument)
    return (time.perf_counter() - start) / repeats * 1e3


def peak() -> float:
    """The most memory that the process has held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
