"""Does who loads a model while others save get one model? Processes that read one folder, and one
that saves to it.

    python benchmarks/loads.py [--loads 2000] [--readers 3]

Models of two sizes are saved in turn as fast as that goes; weights, arguments and metadata of each
say which save they are of. A load is mixed when they disagree. Exit code 1 when any was, or was
refused.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from multiprocessing.synchronize import Event

import torch

import diffeo
from diffeo.core.errors import DiffeoError

Counts = dict[str, int]


def tagged(tag: int) -> diffeo.Flow:
    """A flow of one layer or two, whose weights and metadata say which save it is of."""
    flow = diffeo.models.nsf((2,), layers=1 + tag % 2, hidden=(4,))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.fill_(tag / 2**16)
    flow.metadata = {"tag": tag}
    return flow


def is_whole(flow: diffeo.Flow) -> bool:
    """Are weights, arguments and metadata of one save?"""
    tag = flow.metadata["tag"]
    layers = flow.recipe["args"]["layers"] if flow.recipe is not None else 0
    return layers == 1 + tag % 2 and all(bool((p == tag / 2**16).all()) for p in flow.parameters())


def save_on(folder: str, done: Event, saved: multiprocessing.Queue[int]) -> None:
    """Save one model after another until `done`."""
    torch.set_num_threads(1)
    tag = 0
    while not done.is_set():
        tag += 1
        diffeo.save(tagged(tag), folder)
    saved.put(tag)


def read(folder: str, loads: int, found: multiprocessing.Queue[Counts]) -> None:
    """Load so often, and count what came of it."""
    torch.set_num_threads(1)
    counts, seen = {"whole": 0, "mixed": 0, "errors": 0}, set[int]()
    for _ in range(loads):
        try:
            flow = diffeo.load(folder)
        except DiffeoError as error:
            print(error, flush=True)
            counts["errors"] += 1
            continue
        counts["whole" if is_whole(flow) else "mixed"] += 1
        seen.add(flow.metadata["tag"])
    found.put(counts | {"models": len(seen)})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--loads", type=int, default=2_000)
    parser.add_argument("--readers", type=int, default=3)
    args = parser.parse_args()
    start, processes = time.perf_counter(), multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        diffeo.save(tagged(0), folder)
        done, found, saved = processes.Event(), processes.Queue(), processes.Queue()
        each = -(-args.loads // args.readers)
        readers = [
            processes.Process(target=read, args=(folder, each, found)) for _ in range(args.readers)
        ]
        saver = processes.Process(target=save_on, args=(folder, done, saved))
        for process in (saver, *readers):
            process.start()
        counts = [found.get() for _ in readers]
        done.set()
        saves = saved.get()
        for process in (saver, *readers):
            process.join()
    mixed, errors = (sum(c[key] for c in counts) for key in ("mixed", "errors"))
    print(
        f"{each * args.readers:,} loads by {args.readers} processes during {saves:,} saves: {mixed}"
        f" mixed, {errors} errors; {max(c['models'] for c in counts):,} models seen by one;"
        f" {time.perf_counter() - start:.0f} s"
    )
    sys.exit(bool(mixed or errors))


if __name__ == "__main__":
    main()
