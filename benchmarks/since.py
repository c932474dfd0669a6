"""Has diffeo become slower since another commit? Both take turns, in one run.

    python benchmarks/since.py v0.2.0                  # the reference NSF, RealNVP and Glow
    python benchmarks/since.py HEAD~5 nsf --starts 20  # some rows; speed/rows.py has them all

Prints medians in milliseconds, and the ratio of now to then with its standard error: the geometric
mean over several starts, since a process may be 10 % slower than another of the same code. The
machine should be quiet.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import tempfile
from pathlib import Path

from bench import tie
from speed.contest import Process
from speed.rows import ROWS, Row

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 0.2  # that one measurement takes

Times = tuple[float, float]  # milliseconds, then and now


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit")
    parser.add_argument("rows", nargs="*", metavar="ROW", default=["nsf", "realnvp", "glow"])
    parser.add_argument(
        "--starts", type=int, default=8, help="pairs of processes: memory lies elsewhere in each"
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of a pair")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def pair(row: Row, then: Path, args: argparse.Namespace, swapped: bool) -> dict[str, list[Times]]:
    """Times of a process of each, which take turns."""
    settings = {**row.settings, "jobs": row.jobs, "threads": args.threads}
    sources = [ROOT / "src", then] if swapped else [then, ROOT / "src"]
    both = [Process("diffeo", settings, source) for source in sources]
    for process in both:
        process.facts()
    times: dict[str, list[Times]] = {}
    for job in row.jobs:
        for process in both:
            process.settle(job, SECONDS)
        turns = [tuple(process.time(job) for process in both) for _ in range(args.rounds)]
        times[job] = [(turn[1], turn[0]) if swapped else (turn[0], turn[1]) for turn in turns]
    for process in both:
        process.end()
    return times


def compare(row: Row, then: Path, args: argparse.Namespace) -> None:
    """A line for every job of a row."""
    pairs = [pair(row, then, args, swapped=bool(i % 2)) for i in range(args.starts)]
    for job in row.jobs:
        medians = [[statistics.median(t) for t in zip(*p[job], strict=True)] for p in pairs]
        before, now = (statistics.median(column) for column in zip(*medians, strict=True))
        ratios = [math.log(new / old) for old, new in medians]
        error = statistics.stdev(ratios) / math.sqrt(len(ratios))
        ratio = math.exp(statistics.mean(ratios))
        print(
            f"{row.name:8} {job:9} {before:8.2f} -> {now:8.2f} ms   x {ratio:.3f} ± {error:.3f}",
            flush=True,
        )


def main() -> None:
    args = arguments()
    tie(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        then = Path(folder) / "then"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", "-q", str(then), args.commit], check=True)
        try:
            for name in args.rows:
                compare(ROWS[name], then / "src", args)
        finally:
            subprocess.run([*git, "remove", "--force", str(then)], check=True)


if __name__ == "__main__":
    main()
