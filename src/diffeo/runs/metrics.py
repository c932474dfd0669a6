"""The metrics log of a run: one JSON object a line, nothing in it that depends on the clock."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..core.errors import CheckpointError
from ..core.files import write_atomic

__all__ = ["MetricsLog"]


class MetricsLog:
    """`metrics.jsonl` of a run folder, and the same lines in `history`; without a folder, in memory
    only.
    """

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder / "metrics.jsonl"
        self.history: list[dict[str, Any]] = []

    def truncate(self, lines: int) -> str | None:
        """Keep the first `lines` lines, those written before a checkpoint, and drop the others.

        Returns a sentence on lines that are missing, None when all are there: weights do not depend
        on them.
        """
        if self.path is None:
            return None
        kept = _whole_lines(self.path, lines)
        self.history = [json.loads(line) for line in kept]
        try:
            write_atomic(self.path, "".join(f"{line}\n" for line in kept).encode())
        except OSError as error:
            raise CheckpointError(
                f"{self.path}: cannot write ({error.strerror or error})"
            ) from None
        if missing := lines - len(kept):
            return (
                f"{self.path}: {missing} of {lines} lines are lost or damaged; the run goes on"
                " without them"
            )
        return None

    def add(self, **entry: Any) -> None:
        """Append a line; it survives the process, though not a power cut, until `sync`."""
        self.history.append(entry)
        if self.path is not None:
            self._append(json.dumps(entry) + "\n", sync=False)

    def sync(self) -> None:
        """Make all lines durable, before a checkpoint counts on them."""
        if self.path is not None:
            self._append("", sync=True)

    def _append(self, text: str, sync: bool) -> None:
        assert self.path is not None
        try:
            with self.path.open("a") as file:
                file.write(text)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise CheckpointError(
                f"{self.path}: cannot write ({error.strerror}); the last checkpoint is kept"
            ) from None


def _whole_lines(path: Path, most: int) -> list[str]:
    """The first lines of a file, until one is not a JSON object."""
    kept: list[str] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if most else []
        for line in lines[:most]:
            if not isinstance(json.loads(line), dict):
                break
            kept.append(line)
    except (OSError, ValueError, RecursionError):
        pass
    return kept
