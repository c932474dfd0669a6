"""What a verb is asked for, whatever the kind of data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Draws", "Rows"]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Data to look at with the model in `folder`, and how to read them; options of another kind of
    data are refused.
    """

    folder: Path
    data: Path
    labels: Path | None = None
    resize: str | None = None
    dialect: str | None = None
    max_bad: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Samples to write: `n` of the model in `folder`, for each row of `context` if there is one."""

    folder: Path
    out: Path
    n: int
    seed: int = 0
    temperature: float = 1.0
    context: Path | None = None
    dialect: str | None = None
    classes: tuple[str, ...] = ()
    columns: int | None = None
