"""Rows of a table: named columns, each of a kind of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ..card import DataNote
from ..data import Schema, Table, read_table
from .base import Domain
from .recommend import Recommendation, recommend

__all__ = ["TableDomain"]


class TableDomain(Domain):
    """Tables, and arrays (N, D) of numbers; what no other domain claims is taken for one.

    >>> TableDomain().recommend(1000, 5).batch_size
    64
    """

    name: ClassVar[str] = "table"
    event: ClassVar[str] = "row"
    note: ClassVar[type[DataNote] | None] = Schema
    unit: ClassVar[str] = "nats per row"
    mirrored: ClassVar[bool] = False
    drawn: ClassVar[bool] = False
    levels: ClassVar[bool] = False
    examined: ClassVar[bool] = True
    most_held_out: ClassVar[int] = 50_000
    evaluations: ClassVar[int] = 100
    contexts: ClassVar[tuple[str, ...] | None] = None

    def looks_like(self, source: Any) -> bool:
        return isinstance(source, Table)

    def read(self, source: Any, **options: Any) -> Table:
        return read_table(source, **options)

    def arguments(self, data: Table, *, conditional: bool) -> dict[str, Any]:
        schema = data.schema
        return {
            "event_shape": (len(schema.columns),),
            "context_shape": (len(schema.context),) if conditional else None,
            "supports": list(schema.supports),
        }

    def recommend(self, rows: int, dims: int, context: int = 0) -> Recommendation:
        return recommend(rows, dims, context)

    def units(self, event_shape: Sequence[int]) -> float:
        return 1.0

    def set_up_rows(self, event_shape: Sequence[int]) -> int:
        return 65_536

    def checked(self, rows: int, event_shape: Sequence[int]) -> int:
        """All of them: a row is small."""
        return rows
