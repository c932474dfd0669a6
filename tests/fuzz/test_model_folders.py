"""Mutated model folders: a flow as it was, or one line that refuses it, soon and in little
memory.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from folders import mutate, sound
from judge import judged, log_densities

SECONDS, MIB = 2.0, 300.0


@pytest.mark.skipif(
    sys.platform != "linux", reason="measures memory of forked processes as Linux counts it"
)
def test_a_mutated_folder_is_the_same_flow_or_refused_in_one_line(
    tmp_path: Path, count: Callable[[int, int], int]
) -> None:
    folders = sound(tmp_path / "sound")
    right = {name: log_densities(folder) for name, folder in folders.items()}
    done: list[tuple[str, str]] = []

    def mutated() -> Iterator[Path]:
        for i in range(count(150, 6_000)):
            random = Random(i)
            name = random.choice(list(folders))
            done.append((name, mutate(folders[name], tmp_path / "mutated", random)))
            yield tmp_path / "mutated"

    wrong, outcomes = [], {"refused": 0, "same": 0, "other": 0}
    for i, verdict in enumerate(judged(mutated(), folders.values())):
        name, said = done[i]
        refused = (
            verdict.error is not None and len(verdict.error) < 1_000 and verdict.error.isprintable()
        )
        same = verdict.log_prob is not None and verdict.log_prob == pytest.approx(
            right[name], rel=1e-6
        )
        # Another setting that is valid and agrees with the manifest is another model, which must
        # work.
        other = (
            verdict.log_prob is not None
            and "=" in said
            and "sealed" in said
            and all(map(math.isfinite, verdict.log_prob))
        )
        outcomes["refused" if refused else "same" if same else "other"] += 1
        if not (refused or same or other) or verdict.seconds > SECONDS or verdict.mib > MIB:
            wrong.append(f"case {i}, {name}, {said}: {verdict}"[:600])
    print(outcomes)
    assert not wrong, "\n".join(wrong)
