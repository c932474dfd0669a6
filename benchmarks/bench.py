"""Speed and memory of diffeo beside nflows, zuko, normflows, FrEIA, flowjax (JAX) and the bare
networks, in one run.

    python benchmarks/bench.py  # everything: about half an hour on two quiet cores
    python benchmarks/bench.py --quick                 # a first look: about 5 minutes
    python benchmarks/bench.py nsf realnvp --rounds 9  # some rows; speed/rows.py has them all
    python benchmarks/bench.py --render  # table and picture again from the bench.json that is there

Environments of the peers are made under .venv-peers/ on first use. Every contender is a process of
its own; they take turns, so a change of the machine's speed meets all. Losing rows and failed
checks stay in the table. The machine should be quiet: threads that wait for each other lose many
times over where others want the processors. nsf-large needs 16 GB. Written to --out (runs/bench):
bench.json with every raw time, bench.md, bench.png.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peers import PEERS, python
from speed.checks import problems
from speed.contest import contest
from speed.picture import draw
from speed.rows import CONTENDERS, ROWS, Row
from speed.table import markdown


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", help=f"{', '.join(ROWS)}; all if none is named"
    )
    parser.add_argument(
        "--rounds", type=int, help="turns of every contender; each row has its own default"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="two rounds, short ones, and every other value of what varies",
    )
    parser.add_argument("--render", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    args = parser.parse_args()
    if unknown := set(args.rows) - set(ROWS):
        parser.error(f"no row {', '.join(sorted(unknown))}: there are {', '.join(ROWS)}")
    return args


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    info = Path("/proc/cpuinfo")
    named = (
        [
            line.split(":", 1)[1].strip()
            for line in info.read_text().splitlines()
            if "model name" in line
        ]
        if info.exists()
        else []
    )
    return {
        "cpu": named[0] if named else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def tie(threads: int) -> None:
    """Keep this process and the contenders on that many processors: XLA has no other bound on its
    threads.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def prepare(chosen: list[Row]) -> set[str]:
    """Make the peers' environments; the contenders whose cannot be made."""
    broken = set()
    for library in sorted(
        {CONTENDERS[name][0] for row in chosen for name in row.contenders} & set(PEERS)
    ):
        try:
            python(library)
        except subprocess.CalledProcessError as error:
            print(f"no environment for {library}: {error}", file=sys.stderr)
            broken.add(library)
    return broken


def measure(row: Row, args: argparse.Namespace, broken: set[str]) -> dict[str, Any]:
    """A row: a contest at every point."""
    able = [name for name in row.contenders if CONTENDERS[name][0] not in broken]
    rounds, seconds = args.rounds or (2 if args.quick else row.rounds), 0.05 if args.quick else 0.3
    points = []
    for value, settings in row.points(args.quick):
        print(
            row.name, "" if value is None else f"{row.label} {value}", file=sys.stderr, flush=True
        )
        found = contest(
            able, {**settings, "jobs": row.jobs, "threads": args.threads}, row.jobs, rounds, seconds
        )
        found |= {
            name: {"times": {}, "failed": "its environment could not be made"}
            for name in row.contenders
            if name not in able
        }
        for name, facts in found.items():
            for text in [] if "skipped" in facts else problems(facts, settings):
                print(f"  {name}: {text}", file=sys.stderr)
        points.append({"value": value, "settings": settings, "contenders": found})
    return {"name": row.name, "points": points}


def write(record: dict[str, Any], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "bench.json").write_text(json.dumps(record, indent=1))
    (out / "bench.md").write_text(markdown(record))
    draw(record, out / "bench.png")


def main() -> None:
    args = arguments()
    if args.render:
        return write(json.loads((args.out / "bench.json").read_text()), args.out)
    chosen = [ROWS[name] for name in args.rows or ROWS]
    broken = prepare(chosen)
    tie(args.threads)
    record: dict[str, Any] = {
        "machine": machine(),
        "arguments": {"threads": args.threads, "quick": args.quick},
        "rows": [],
    }
    for row in chosen:
        record["rows"].append(measure(row, args, broken))
        write(record, args.out)  # after every row: an interrupted run leaves what it has
    print((args.out / "bench.md").read_text())
    return None


if __name__ == "__main__":
    main()
