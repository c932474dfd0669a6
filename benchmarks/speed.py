"""One training step, `log_prob` and `sample` of `nsf` beside nflows 0.14, zuko 1.6 and the bare conditioners, in one run.

    python benchmarks/speed.py [--rounds 15] [--threads 2]

Printed: the median of the rounds, the spread, and ratios to diffeo round by round.
"""

from __future__ import annotations

from contest import arguments, contest

if __name__ == "__main__":
    contest(
        "speed_worker.py",
        ("diffeo", "nflows", "zuko", "bare"),
        {"step": 5, "log_prob": 10, "sample": 10},
        arguments(__doc__),
    )
