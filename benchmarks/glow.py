"""A training step, `log_prob` and sampling of Glow (3 x 32 x 32) beside normflows 1.7.3 and FrEIA 0.2, in one run.

    python benchmarks/glow.py [--rounds 10] [--threads 2]

The same layout for all (glow_worker.py), batch 32, float32; `bfloat16` is diffeo with its networks in that. Printed:
medians, spreads, ratios, peak memory.
"""

from __future__ import annotations

from contest import arguments, contest

if __name__ == "__main__":
    contest(
        "glow_worker.py",
        ("diffeo", "bfloat16", "normflows", "freia"),
        {"step": 3, "log_prob": 3, "sample": 3},
        arguments(__doc__, 10),
    )
