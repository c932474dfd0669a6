"""`diffeo score` from CSV to Parquet, 10 columns: rows a second, peak memory against the number of
rows, the flow's share.

    python benchmarks/score.py [--rows 250000 500000 1000000] [--threads 2]

Each run is a process of its own; its time includes starting Python and PyTorch. The flow's share is
the time of `log_probs` on the same number of rows in memory, in one process, against the whole.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import diffeo
from diffeo.training import log_probs

COLUMNS = 10


def write(path: Path, rows: int) -> None:
    """Correlated columns in units of their own."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(COLUMNS, COLUMNS))
    with path.open("w") as file:
        file.write(",".join(f"c{i}" for i in range(COLUMNS)) + "\n")
        for start in range(0, rows, 100_000):
            np.savetxt(
                file,
                rng.normal(size=(min(100_000, rows - start), COLUMNS)) @ mixing,
                fmt="%.5f",
                delimiter=",",
            )


def command(*words: str | Path) -> tuple[float, float]:
    """Seconds and peak memory, MiB, of a diffeo command."""
    start = time.perf_counter()
    code = (
        "import resource, sys; from diffeo.cli.app import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=True
    )
    return time.perf_counter() - start, float(done.stderr.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[250_000, 500_000, 1_000_000])
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "small.csv", 20_000)
        command("fit", folder / "small.csv", "--out", folder / "model", "--steps", "200", "--json")
        flow = diffeo.load(folder / "model")
        print(
            "| rows | seconds | rows/s | peak MiB | the flow alone, s | its share"
            " |\n|---|---|---|---|---|---|"
        )
        for rows in args.rows:
            write(folder / "data.csv", rows)
            seconds, peak = command(
                "score", folder / "model", folder / "data.csv", "-o", folder / "out.parquet"
            )
            x = torch.randn(rows, COLUMNS, dtype=torch.float64)
            start = time.perf_counter()
            log_probs(flow, x, None)
            own = time.perf_counter() - start
            print(
                f"| {rows:,} | {seconds:.1f} | {rows / seconds:,.0f} | {peak:.0f} | {own:.1f} |"
                f" {own / seconds:.0%} |",
                flush=True,
            )
        print(
            json.dumps({"threads": args.threads, "model": flow.recipe}, default=str),
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
