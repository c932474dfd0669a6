"""What the verbs do with a model of each kind of data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .image_verbs import ImageVerbs
from .requests import Draws, Rows
from .table_verbs import TableVerbs

if TYPE_CHECKING:
    from torch import Tensor

    from ..flow import Flow
    from ..training import Evaluation

__all__ = ["VERBS", "Verbs", "verbs_of"]


class Verbs(Protocol):
    """One kind of data on the command line."""

    def read(
        self, flow: Flow, rows: Rows, first: int | None = None
    ) -> tuple[Tensor, Tensor | None, int]:
        """Rows (at most the `first` so many of events that are large), their contexts, and how
        many were unusable.
        """

    def pieces(self, flow: Flow, rows: Rows) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The same in pieces that fit memory, unusable rows as NaN."""

    def draw(self, flow: Flow, draws: Draws) -> int:
        """Write samples; how many they are."""

    def describe(self, flow: Flow, folder: Path) -> dict[str, Any]:
        """What a model is of."""

    def likelihood(self, result: Evaluation) -> list[str]:
        """Held-out likelihood, for people."""


VERBS: dict[str, Verbs] = {
    "table": TableVerbs(),
    "image": ImageVerbs(),
    "field": ImageVerbs(),
}


def verbs_of(flow: Flow) -> Verbs:
    """The verbs of the kind of data that a flow is of."""
    from ..domains import of_flow

    return VERBS[of_flow(flow).name]
