"""One training step, `log_prob` and `sample` of `nsf` beside nflows 0.14, zuko 1.6 and the bare conditioners, in one run.

    python benchmarks/speed.py [--rounds 15] [--threads 2]

Contenders run as processes of their own and take turns (A B C A B C ...), so a change of the machine's speed meets all
of them. Printed: the median of the rounds, the spread, and ratios to diffeo round by round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from peers import python

HERE = Path(__file__).parent
CONTENDERS = ("diffeo", "nflows", "zuko", "bare")
REPEATS = {"step": 5, "log_prob": 10, "sample": 10}


class Contender:
    """A worker process that times jobs on request."""

    def __init__(self, name: str, threads: int) -> None:
        interpreter = sys.executable if name in ("diffeo", "bare") else str(python(name))
        command = [interpreter, str(HERE / "speed_worker.py"), name, str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.facts: dict[str, Any] = json.loads(self._read())

    def time(self, job: str) -> float:
        """Milliseconds per call."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{job} {REPEATS[job]}\n")
        self.process.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a contender died: see above")
        return line


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    contenders = {name: Contender(name, args.threads) for name in CONTENDERS}
    for name, contender in contenders.items():
        print(f"{name:8} {contender.facts}", file=sys.stderr)
    times: dict[str, dict[str, list[float]]] = {job: {name: [] for name in CONTENDERS} for job in REPEATS}
    for round_ in range(args.rounds + 1):
        for job in REPEATS:
            for name, contender in contenders.items():
                value = contender.time(job)
                if round_:  # the first round warms up
                    times[job][name].append(value)
    print("| ms, median (min-max) | " + " | ".join(CONTENDERS) + " |\n|---|" + "---|" * len(CONTENDERS))
    for job, by_name in times.items():
        cells = [f"{statistics.median(v):.1f} ({min(v):.1f}-{max(v):.1f})" for v in by_name.values()]
        print(f"| {job} | " + " | ".join(cells) + " |")
    print("\n| ratio to diffeo, median | " + " | ".join(CONTENDERS) + " |\n|---|" + "---|" * len(CONTENDERS))
    for job, by_name in times.items():
        ratios = [statistics.median(a / b for a, b in zip(v, by_name["diffeo"], strict=True)) for v in by_name.values()]
        print(f"| {job} | " + " | ".join(f"{r:.2f}" for r in ratios) + " |")


if __name__ == "__main__":
    main()
