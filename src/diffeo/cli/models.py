"""Opening a model folder for a verb."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from ..data import Schema
    from ..flow import Flow

__all__ = ["open_flow", "open_image_model", "schema_of"]


def open_flow(folder: Path) -> Flow:
    """A model of anything; raises `StoreError` when its notes are not such as diffeo makes."""
    if not folder.exists():
        raise StoreError(
            f"{folder}: no such model folder; `diffeo fit DATA --out {folder}` makes one"
        )
    from ..store import load
    from .notes import check_notes

    flow = load(folder)
    check_notes(flow, folder)
    return flow


def open_image_model(folder: Path) -> Flow:
    """A model of images; raises `ConfigError` for one of tables."""
    from ..domains import TABLE, of_flow

    flow = open_flow(folder)
    if of_flow(flow) is TABLE:
        raise ConfigError(f"{folder}: a model of tables; this command is for models of images")
    return flow


def schema_of(flow: Flow, folder: Path) -> Schema:
    """The schema stored with a model; a model fitted to arrays gets columns x0, x1, ..."""
    from ..data import Column, Schema

    schema = flow.card.data
    if not isinstance(schema, Schema):
        size, *more = flow.event_shape or (0, 0)
        if more:
            raise ConfigError(
                f"{folder}: a model of events {flow.event_shape} does not read tables"
            )
        return Schema(columns=tuple(Column(name=f"x{i}") for i in range(size)))
    if (len(schema.columns),) != flow.event_shape:
        raise StoreError(
            f"{folder}: its schema has {len(schema.columns)} columns, its flow events"
            f" {flow.event_shape}"
        )
    if (len(schema.context),) != (flow.context_shape or (0,)):
        raise StoreError(
            f"{folder}: its schema has {len(schema.context)} context columns, its flow"
            f" {flow.context_shape}"
        )
    return schema
