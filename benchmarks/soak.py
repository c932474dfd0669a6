"""Does a process that fits, scores, draws, saves and loads for hours grow? Ten thousand small jobs
in one process.

    python benchmarks/soak.py [--jobs 10000] [--most 0.75]

Every 5 % a line with resident memory, open files, threads and Python objects. At the end what was
gained after the first fifth, which fills caches and free lists; exit code 1 when memory grew by
more than `--most` MiB per 1,000 jobs, objects by more than 100, or files or threads at all. What is
resident grows in a few steps of 1 to 3 MiB, where malloc asks for more; the limit leaves room for
them, and is below the 1.1 MiB that 48 bytes lost in every call of a kernel come to.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import diffeo
from diffeo.core.errors import DiffeoError

ROWS, STEPS = 64, 3
SMALL = {"layers": 2, "hidden": (16, 16)}
LINES = 20
SETTLED = LINES // 5  # lines after which nothing should grow


@dataclass(frozen=True)
class Reading:
    """What the process holds; memory in MiB."""

    jobs: int
    memory: float
    files: int
    threads: int
    objects: int

    @classmethod
    def take(cls, jobs: int) -> Reading:
        """The state of this process, garbage aside."""
        gc.collect()
        status = dict(
            line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines()
        )
        return cls(
            jobs=jobs,
            memory=int(status["VmRSS"].split()[0]) / 1024,
            files=len(os.listdir("/proc/self/fd")),
            threads=int(status["Threads"]),
            objects=len(gc.get_objects()),
        )


# --- jobs: job i has seed i, so shapes and weights differ from one to the next --------------------


def rows(i: int, columns: int) -> torch.Tensor:
    return torch.randn(ROWS, columns, generator=torch.Generator().manual_seed(i))


def fit(i: int) -> None:
    """A fit in memory, then scores and draws."""
    columns = 2 + i % 5
    model = (diffeo.models.nsf, diffeo.models.realnvp)[i % 2]
    flow = model((columns,), seed=i, **SMALL)
    diffeo.fit(flow, rows(i, columns), steps=STEPS)
    flow.log_prob(rows(i + 1, columns))
    flow.sample((ROWS,))


def fit_to_a_folder(i: int) -> None:
    """A conditional fit with checkpoints and metrics, and what it saved loaded."""
    columns = 2 + i % 3
    with tempfile.TemporaryDirectory() as out:
        flow = diffeo.models.nsf((columns,), (1,), seed=i, **SMALL)
        diffeo.fit(flow, rows(i, columns), rows(i + 1, 1), steps=STEPS, out=out)
        diffeo.load(out).condition(torch.zeros(1)).sample((ROWS,))


def save_and_load(i: int) -> None:
    """Twice to one folder, the second time over the first."""
    flow = diffeo.models.nsf((3,), seed=i, supports=["real", "positive", "circular:0:6"], **SMALL)
    with tempfile.TemporaryDirectory() as out:
        for note in ("first", "second"):
            flow.metadata = {"note": f"{note} of job {i}"}
            diffeo.save(flow, out)
        diffeo.load(out).log_prob(rows(i, 3).abs())


def estimator(i: int) -> None:
    """A fit, scores, draws and latents with scikit-learn's methods."""
    x = rows(i, 2 + i % 5).numpy().astype(np.float64)
    made = diffeo.FlowEstimator(
        "realnvp", model_args=SMALL, fit_args={"steps": STEPS}, random_state=i
    ).fit(x)
    made.score(x)
    made.sample(ROWS)
    made.inverse_transform(made.transform(x))


def images(i: int) -> None:
    """A fit of images of 4 x 4 pixels."""
    x = torch.randint(
        256, (ROWS, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(i)
    )
    flow = diffeo.models.nice((1, 4, 4), size="tiny", width=8, depth=1, seed=i)
    diffeo.fit(flow, x, steps=STEPS)
    flow.sample((4,))


def refuse(i: int) -> None:
    """What is refused leaves nothing behind either."""
    flow = diffeo.models.nsf((2,), seed=i, **SMALL)
    x = rows(i, 2)
    x[i % ROWS] = torch.nan
    with tempfile.TemporaryDirectory() as out:
        Path(out, "manifest.json").write_text("{}")
        for attempt in (
            lambda: diffeo.fit(flow, x, steps=STEPS, out=out),
            lambda: diffeo.load(out),
        ):
            try:
                attempt()
            except DiffeoError:
                continue
            raise AssertionError("not refused")


JOBS: tuple[Callable[[int], None], ...] = (
    fit,
    fit_to_a_folder,
    save_and_load,
    estimator,
    images,
    refuse,
)


def soak(count: int, jobs: tuple[Callable[[int], None], ...] = JOBS) -> list[Reading]:
    """Readings of the process at every twentieth of so many jobs, printed as they are taken."""
    start, taken = time.perf_counter(), list[Reading]()
    for i in range(count):
        jobs[i % len(jobs)](i)
        if (i + 1) * LINES // count > i * LINES // count:
            now = Reading.take(i + 1)
            taken.append(now)
            print(
                f"{now.jobs:7,} jobs  {now.memory:8.1f} MiB  {now.files:3} files  {now.threads:3}"
                f" threads  {now.objects:9,} objects  {time.perf_counter() - start:6.0f} s",
                flush=True,
            )
    return taken


def verdict(taken: list[Reading], most: float) -> bool:
    """Say what was gained after the first fifth; False when that is too much."""
    before, after = taken[SETTLED - 1], taken[-1]
    thousands = (after.jobs - before.jobs) / 1000
    memory, objects = after.memory - before.memory, after.objects - before.objects
    files, threads = after.files - before.files, after.threads - before.threads
    sound = (
        memory <= most * thousands and objects <= 100 * thousands and files <= 0 and threads <= 0
    )
    print(
        f"{'sound' if sound else 'GROWS'}: after the first fifth {memory:+.1f} MiB,"
        f" {memory / thousands:+.2f} MiB and {objects / thousands:+.0f} objects per 1,000 jobs,"
        f" {files:+} files, {threads:+} threads (limits {most} MiB and 100 objects per 1,000 jobs,"
        " none, none)"
    )
    return sound


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument(
        "--most", type=float, default=0.75, help="MiB per 1,000 jobs that memory may grow by"
    )
    parser.add_argument(
        "--only",
        choices=[job.__name__ for job in JOBS],
        help="jobs of one kind, to find what grows",
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    chosen = tuple(job for job in JOBS if args.only in (None, job.__name__))
    sys.exit(not verdict(soak(args.jobs, chosen), args.most))


if __name__ == "__main__":
    main()
