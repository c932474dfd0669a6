"""Loads model folders, each in a process of its own, and says what came of it and what it cost.

    for verdict in judged(folders): ...

A verdict has `error`, the one line of a `DiffeoError`, or `log_prob`, the log-densities of the flow
at fixed points, or `crash`, what else happened; and the seconds of CPU time and the MiB of memory
that it took.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

WALL = 60  # seconds after which a process that hangs is ended


@dataclass(frozen=True)
class Verdict:
    """What came of a folder."""

    seconds: float
    mib: float
    error: str | None = None
    log_prob: list[float] | None = None
    crash: str | None = None


def judged(folders: Iterable[Path], warm: Iterable[Path]) -> Iterator[Verdict]:
    """The verdict of every folder, in order; `warm` are sound ones, loaded beforehand so that
    imports do not count.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, *map(str, warm)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for folder in folders:
            print(folder, file=process.stdin, flush=True)
            yield Verdict(**json.loads(process.stdout.readline()))
        process.stdin.close()


def _answer(folder: str) -> str:
    """The verdict as JSON, found in a forked process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as out:
            out.write(json.dumps(_judge(folder)))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        found = answer.read()
    _, status = os.waitpid(child, 0)
    return found or json.dumps(
        {"seconds": WALL, "mib": 0.0, "crash": f"ended with status {status}"}
    )


def _judge(folder: str) -> dict[str, object]:
    import signal

    from diffeo.core.errors import DiffeoError

    signal.alarm(WALL)
    before, start, found = _peak(), time.process_time(), {}
    try:
        found["log_prob"] = log_densities(folder)
    except DiffeoError as error:
        found["error"] = str(error)
    except BaseException as error:
        found["crash"] = repr(error)[:300]
    return {**found, "seconds": time.process_time() - start, "mib": (_peak() - before) / 1024}


def log_densities(folder: str | Path) -> list[float]:
    """Of the flow in a folder, at four points that its event shape decides."""
    import torch

    import diffeo
    from diffeo.core.seeds import seeded
    from diffeo.domains.image import bits_of, classes_of

    flow = diffeo.load(folder)
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(4, *flow.event_shape, generator=generator)
    x = (x * 2 ** (bits_of(flow) or 8)).to(torch.uint8) if bits_of(flow) else x
    context = (
        None
        if flow.context_shape is None
        else torch.rand(4, *flow.context_shape, generator=generator)
    )
    context = (
        context.mul(classes_of(flow)).long()
        if context is not None and classes_of(flow)
        else context
    )
    with seeded(2), torch.no_grad():
        values: list[float] = flow.log_prob(x, context).tolist()
    return values


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    for sound in sys.argv[1:]:
        log_densities(sound)
    for line in sys.stdin:
        print(_answer(line.strip()), flush=True)
