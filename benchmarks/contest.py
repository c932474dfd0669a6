"""Contenders as processes of their own that take turns (A B C A B C ...), so a change of the machine's speed meets all."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers import PEERS, python

__all__ = ["arguments", "contest"]

HERE = Path(__file__).parent
Times = dict[str, dict[str, list[float]]]


def arguments(text: str | None, rounds: int = 15) -> argparse.Namespace:
    """--rounds and --threads."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


class Contender:
    """A worker process that times jobs on request."""

    def __init__(self, script: str, name: str, threads: int) -> None:
        interpreter = str(python(name)) if name in PEERS else sys.executable
        command = [interpreter, str(HERE / script), name, str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.facts: dict[str, Any] = json.loads(self._read())

    def time(self, job: str, repeats: int) -> float:
        """Milliseconds per call."""
        return float(self._ask(f"{job} {repeats}"))

    def peak(self) -> float:
        """The largest memory that the process has had, MiB."""
        return float(self._ask("peak 0"))

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a contender died: see above")
        return line


def contest(script: str, names: Sequence[str], jobs: dict[str, int], args: argparse.Namespace) -> None:
    """Time every job of every contender, in turns, and print medians, spreads, ratios to the first, and memory."""
    contenders = {name: Contender(script, name, args.threads) for name in names}
    for name, contender in contenders.items():
        print(f"{name:10} {contender.facts}", file=sys.stderr)
    times: Times = {job: {name: [] for name in names} for job in jobs}
    for round_ in range(args.rounds + 1):
        for job, repeats in jobs.items():
            for name, contender in contenders.items():
                value = contender.time(job, repeats)
                if round_:  # the first round warms up
                    times[job][name].append(value)
    _table("ms, median (min-max)", times, lambda v, _: f"{statistics.median(v):.1f} ({min(v):.1f}-{max(v):.1f})")
    _table(f"ratio to {names[0]}, median", times, lambda v, first: f"{_ratio(v, first):.2f}")
    print("\npeak memory, MiB: " + ", ".join(f"{name} {contender.peak():.0f}" for name, contender in contenders.items()))


def _ratio(values: list[float], first: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(values, first, strict=True))


def _table(head: str, times: Times, cell: Any) -> None:
    names = list(next(iter(times.values())))
    print(f"\n| {head} | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for job, by_name in times.items():
        print(f"| {job} | " + " | ".join(cell(v, by_name[names[0]]) for v in by_name.values()) + " |")
