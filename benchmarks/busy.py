"""A training step of the reference NSF beside programs that want the processors as well: diffeo and
zuko.

    python benchmarks/busy.py [--threads 2] [--busy 0 1 2 4] [--rounds 3] [--seconds 3]
                              [--contenders diffeo zuko]

Under four minutes; zuko's environment is made on first use, which takes longer (`python
benchmarks/peers.py zuko` before).

The fair share: t threads alone have min(t, n) of n processors. Beside k programs of one thread
each, a system that treats all threads alike gives them n t / (t + k), if that is less. A step
should take longer by the quotient of the two. Times are means, not medians: what counts is how many
steps are made. A ratio of 1 is the fair share; the aim is 1.3. Printed as Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from speed.contest import Process
from speed.rows import NSF

LOOP = "print(flush=True)\nwhile True: pass"


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """So many programs that do nothing but want a processor."""
    programs = [
        subprocess.Popen([sys.executable, "-c", LOOP], stdout=subprocess.PIPE) for _ in range(count)
    ]
    try:
        for program in programs:
            assert program.stdout is not None
            program.stdout.readline()
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def mean(process: Process, seconds: float) -> float:
    """Milliseconds per step, over so many seconds."""
    process.train()  # the first steps find caches and threads in another state
    begun, times = time.monotonic(), []
    while not times or time.monotonic() - begun < seconds:
        times.append(process.step())
    return sum(times) / len(times)


def fair(threads: int, programs: int, processors: int) -> float:
    """How many times as long a step takes where all threads are treated alike."""
    alone = min(threads, processors)
    return alone / min(alone, processors * threads / (threads + programs))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--contenders", nargs="+", default=["diffeo", "zuko"])
    return parser.parse_args()


def main() -> None:
    args = arguments()
    settings: dict[str, Any] = {**NSF, "jobs": ["step"], "threads": args.threads}
    running = {name: Process(name, settings) for name in args.contenders}
    for process in running.values():
        process.facts()
    times: dict[tuple[str, int], list[float]] = {
        (name, k): [] for name in running for k in sorted({0, *args.busy})
    }
    for _ in range(args.rounds):
        for k in sorted({0, *args.busy}):
            with busy(k):
                for name, process in running.items():
                    times[name, k].append(mean(process, args.seconds))
    for process in running.values():
        process.end()
    report({key: sum(values) / len(values) for key, values in times.items()}, args.threads)


def report(steps: dict[tuple[str, int], float], threads: int) -> None:
    processors = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    print(f"{threads} threads, {processors} processors\n")
    print(
        "| | busy programs | ms a step | times as long as alone | fair share | ratio"
        " |\n|---|---|---|---|---|---|"
    )
    for (name, k), step in steps.items():
        slower, share = step / steps[name, 0], fair(threads, k, processors)
        print(f"| {name} | {k} | {step:.1f} | {slower:.2f} | {share:.2f} | {slower / share:.2f} |")


if __name__ == "__main__":
    main()
