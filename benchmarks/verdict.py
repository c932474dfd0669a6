"""Is the verdict of `infer` calibrated? Sixty targets with known log Z (suite.py), with the
settings of `infer` as they are.

    # all that are not there yet, results in runs/verdict/, and the table
    python benchmarks/verdict.py
    python benchmarks/verdict.py --part 0/2  # every second one, for two processes beside each other
    python benchmarks/verdict.py --only funnel,ring  # some kinds
    python benchmarks/verdict.py --seeds 100         # another suite: seeds from 100 on
    python benchmarks/verdict.py --table             # what is there, as Markdown

A trusted result is wrong when log Z is off by more than four of its own standard errors.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import suite
import torch

import diffeo

OUT = Path(__file__).resolve().parents[1] / "runs" / "verdict"
WRONG = 4.0  # standard errors


def run(kind: str, seed: int, minutes: float | None) -> dict[str, Any]:
    """One target, with the default settings of `infer`."""
    known = suite.make(kind, seed)
    assert known.log_z is not None
    start = time.monotonic()
    posterior = diffeo.infer(known.log_density, known.space, minutes=minutes)
    off = posterior.log_z - known.log_z
    return {
        "kind": kind,
        "seed": seed,
        "size": known.space,
        "trusted": posterior.trusted,
        "off": off,
        "se": posterior.log_z_se,
        "errors": abs(off) / posterior.log_z_se if posterior.log_z_se > 0 else float("nan"),
        "ess": posterior.ess,
        "k_hat": posterior.k_hat,
        "attempts": [a.name for a in posterior.attempts],
        "evaluations": posterior.counts["evaluations"],
        "minutes": (time.monotonic() - start) / 60,
        "warnings": posterior.warnings,
    }


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: a row a kind, and all together."""
    lines = [
        (
            "| kind | targets | trusted | of these off by more than 4 errors | largest, in errors |"
            " minutes each |"
        ),
        "|---|" * 1 + "---|" * 5,
    ]
    kinds = list(dict.fromkeys(r["kind"] for r in results))
    groups = [(kind, [r for r in results if r["kind"] == kind]) for kind in kinds] + [
        ("all", results)
    ]
    for name, rows in groups:
        trusted = [r for r in rows if r["trusted"]]
        wrong = [r for r in trusted if not r["errors"] <= WRONG]
        worst = max((r["errors"] for r in trusted), default=float("nan"))
        minutes = sum(r["minutes"] for r in rows) / len(rows)
        lines.append(
            f"| {name} | {len(rows)} | {len(trusted)} | {len(wrong)} | {worst:.1f} |"
            f" {minutes:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", default="0/1", help="I/N: every N-th target, from the I-th on")
    parser.add_argument("--only", help="kinds, with commas")
    parser.add_argument("--seeds", type=int, default=0, help="the first seed of each kind")
    parser.add_argument(
        "--minutes", type=float, help="the limit of each; the default of infer without"
    )
    parser.add_argument("--table", action="store_true", help="print what is there")
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    which, of = map(int, args.part.split("/"))
    chosen = [
        (kind, args.seeds + seed)
        for kind, seed in suite.SUITE
        if args.only is None or kind in args.only.split(",")
    ]
    for kind, seed in [] if args.table else chosen[which::of]:
        place = OUT / f"{kind}-{seed}.json"
        if not place.exists():
            result = run(kind, seed, args.minutes)
            place.write_text(json.dumps(result))
            said = "trusted" if result["trusted"] else "not trusted"
            print(
                f"{kind} {seed}: {said}, off {result['off']:+.4f} ± {result['se']:.4f},"
                f" {result['minutes']:.1f} min",
                flush=True,
            )
    places = [OUT / f"{kind}-{seed}.json" for kind, seed in chosen]
    print(table([json.loads(place.read_text()) for place in places if place.exists()]))


if __name__ == "__main__":
    main()
