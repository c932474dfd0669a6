"""All that a run needs to go on, as one checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from ..runs import read_checkpoint, write_checkpoint
from .state import State
from .stepping import part_of

__all__ = ["Checkpoint"]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state, what a step changes (`current`), the best weights, and what a roll-back restores
    (`good`; None where that is `current`).
    """

    state: State
    current: dict[str, Tensor]
    best: dict[str, Tensor]
    good: dict[str, Tensor] | None

    def write(self, folder: Path) -> None:
        """Under the run's `folder`; raises `CheckpointError`. A signal does not finish a run."""
        parts = {"best": self.best, "good": self.good or {}}
        tensors = self.current | {
            f"{key}.{name}": t for key, part in parts.items() for name, t in part.items()
        }
        finished = None if self.state.finished == "signal" else self.state.finished
        write_checkpoint(
            folder / "checkpoints",
            step=self.state.step,
            tensors=tensors,
            state=asdict(self.state) | {"finished": finished},
        )

    @classmethod
    def read(cls, folder: Path | None) -> tuple[Checkpoint, list[str]] | None:
        """The newest whole one under a run's folder, with notes on damaged ones; None for none."""
        stored = None if folder is None else read_checkpoint(folder / "checkpoints", State.parse)
        if stored is None:
            return None
        tensors, state, notes = stored
        current = {n: t for n, t in tensors.items() if not n.startswith(("best.", "good."))}
        checkpoint = cls(
            state=state,
            current=current,
            best=part_of(tensors, "best"),
            good=part_of(tensors, "good") or None,
        )
        return checkpoint, notes
