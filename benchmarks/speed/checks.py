"""Does every contender compute the same thing? Parameter counts, shapes, a finite loss that falls,
finite own samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from .rows import Settings

__all__ = ["problems", "wanted"]


def wanted(settings: Settings) -> int | None:
    """The parameters of the layout asked for; None for images, where every library's layout is a
    little different.
    """
    if settings["model"] == "glow":
        return None
    half = settings["shape"][0] // 2
    each = 3 * settings["bins"] - 1 if settings["model"] == "nsf" else 2
    sizes = [half, *settings["hidden"], half * each]
    return settings["layers"] * sum((a + 1) * b for a, b in pairwise(sizes))


def problems(facts: dict[str, Any], settings: Settings) -> Sequence[str]:
    """What is wrong with a contender, in words; nothing if it may be compared. A stated reason
    excuses a parameter count.
    """
    if "failed" in facts:
        return [facts["failed"]]
    found, count = [], wanted(settings)
    if count is not None and facts["parameters"] != count and not facts["note"]:
        found.append(f"{facts['parameters']:,} parameters instead of {count:,}, unexplained")
    first, last = facts["losses"]
    if first is None or last is None or not last < first:
        found.append(f"the loss does not fall: {first} to {last}")
    if "own_finite" in facts:
        found += [
            f"wrong shape of {job}" for job in ("log_prob", "sample") if not facts[f"{job}_shape"]
        ]
        if facts["own_finite"] < 1:
            found.append(
                f"{1 - facts['own_finite']:.2%} of its own samples have no finite log_prob"
            )
    return found
