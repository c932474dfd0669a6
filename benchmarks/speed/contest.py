"""Contenders as processes of their own that take turns (A B C A B C ...), so a change of the
machine's speed meets all.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers import PEERS, python

from .rows import CONTENDERS, Settings

__all__ = ["Process", "contest"]

HERE = Path(__file__).parent
WARM_UP = 3  # calls before peak memory is read


class Died(Exception):
    """A worker process has ended before it was told to."""


class Process:
    """A worker that times jobs on request, of the diffeo in a folder of sources where one is
    given.
    """

    def __init__(self, name: str, settings: Settings, source: Path | None = None) -> None:
        library, more = CONTENDERS[name]
        interpreter = str(python(library)) if library in PEERS else sys.executable
        command = [
            interpreter,
            "-W",
            "ignore",
            str(HERE / f"worker_{library}.py"),
            json.dumps({**settings, **more}),
        ]
        env = os.environ | ({"PYTHONPATH": str(source)} if source else {})
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        self.repeats: dict[str, int] = {}

    def facts(self) -> dict[str, Any]:
        """What the worker says of itself; waits until it has built its model and checked it."""
        facts: dict[str, Any] = json.loads(self._read())
        return facts

    def settle(self, job: str, seconds: float) -> None:
        """Warm up (and compile), and find how many calls take about that long."""
        self._ask(job, 1)
        self.repeats[job] = min(max(round(seconds * 1e3 / self._ask(job, 1)), 1), 200)

    def time(self, job: str) -> float:
        """Milliseconds per call."""
        return self._ask(job, self.repeats[job])

    def peak(self) -> float:
        """The most memory that the process has held, MiB."""
        return self._ask("peak", 0)

    def step(self) -> float:
        """Milliseconds of one training step."""
        return self._ask("step", 1)

    def train(self) -> None:
        self._ask("step", WARM_UP)

    def end(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # a dead one could not be asked the last thing
            self.process.stdin.close()
        self.process.wait()

    def _ask(self, job: str, repeats: int) -> float:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{job} {repeats}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Died("its process ended: see the messages of the run") from None
        return float(self._read())

    def _read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Died(
                f"its process ended with exit code {self.process.wait()}: see the messages of"
                " the run"
            )
        return line


def contest(
    names: Sequence[str], settings: Settings, jobs: Sequence[str], rounds: int, seconds: float
) -> dict[str, Any]:
    """Per contender: its facts, every raw time by job (ms per call), peak memory; or why there is
    none ("failed").
    """
    running = {name: Process(name, settings) for name in names}
    results: dict[str, Any] = {
        name: {"times": {job: [] for job in jobs if job != "peak"}} for name in names
    }

    def each(call: Any) -> None:
        """In turn, for those who are still in the running."""
        for name in [n for n in names if n in running]:
            try:
                call(running[name], results[name])
            except Died as death:
                results[name]["failed"] = str(death)
                running.pop(name).end()
            if "skipped" in results[name] and name in running:
                running.pop(name).end()

    each(lambda process, result: result.update(process.facts()))
    for job in jobs:
        each(
            lambda process, result, job=job: (
                process.train() if job == "peak" else process.settle(job, seconds)
            )
        )
    for _ in range(rounds):
        for job in (job for job in jobs if job != "peak"):
            each(lambda process, result, job=job: result["times"][job].append(process.time(job)))
    each(lambda process, result: result.update(peak=process.peak()))
    for process in running.values():
        process.end()
    return results
