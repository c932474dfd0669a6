"""The diary of a run: one JSON object a line, nothing in it that depends on the clock."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..core.errors import CheckpointError
from ..core.files import write_atomic

__all__ = ["Diary"]


class Diary:
    """`metrics.jsonl` of a run folder, and the same lines in `history`; without a folder, in memory only."""

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder / "metrics.jsonl"
        self.history: list[dict[str, Any]] = []

    def start(self, lines: int) -> None:
        """Keep the first `lines` lines, those that a checkpoint vouches for, and drop what came after."""
        if self.path is None:
            return
        try:
            kept = self.path.read_text().splitlines()[:lines] if lines and self.path.exists() else []
            self.history = [json.loads(line) for line in kept]
            if len(kept) < lines:
                raise ValueError(f"{lines - len(kept)} lines are missing that its checkpoint counts on")
            write_atomic(self.path, "".join(f"{line}\n" for line in kept).encode())
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.path}: cannot continue it: {error}") from None

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
            raise CheckpointError(f"{self.path}: cannot write ({error.strerror}); the last checkpoint is kept") from None
