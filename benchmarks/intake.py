"""A million-row CSV with 0.3 % bad rows of three kinds: intake time and peak memory of a fresh
process, and the account.

python benchmarks/intake.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

CHILD = """
import resource, sys, time
start = time.perf_counter()
from diffeo.data import read_table
table = read_table(sys.argv[1])
seconds = time.perf_counter() - start
i = table.intake
assert i.kept + i.rejected + i.nonfinite == i.total
print(f"{seconds:.2f} s, peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB: "
      f"{i.kept:,} kept + {i.rejected:,} rejected + {i.nonfinite:,} not finite = {i.total:,}")
"""


def write(path: Path, rows: int = 1_000_000, columns: int = 10) -> None:
    """1,000 rows each with a word for a number, a missing field, an overflowing number."""
    values = np.random.default_rng(0).normal(size=(rows, columns))
    bad = np.random.default_rng(1).permutation(rows)[:3000]
    with path.open("w") as file:
        file.write(",".join(f"c{i}" for i in range(columns)) + "\n")
        kinds = dict(zip(bad.tolist(), ["word", "short", "1e400"] * 1000, strict=True))
        for i, row in enumerate(values):
            cells = [f"{v:.5f}" for v in row]
            kind = kinds.get(i)
            if kind == "short":
                cells.pop()
            elif kind:
                cells[3] = kind
            file.write(",".join(cells) + "\n")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "million.csv"
        write(path)
        print(f"{path.stat().st_size / 1e6:.0f} MB")
        for _ in range(3):
            print(
                subprocess.run(
                    [sys.executable, "-c", CHILD, str(path)],
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout.strip()
            )


if __name__ == "__main__":
    main()
