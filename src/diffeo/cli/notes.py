"""The notes that a model folder carries beside its weights: of the kinds that the verbs rely on,
whoever wrote them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic

from ..core.errors import ConfigError, StoreError
from ..core.text import printable
from ..store.config import first_fault
from .images import height_width

if TYPE_CHECKING:
    from ..flow import Flow

__all__ = ["check_notes"]


class _OfImages(pydantic.BaseModel, extra="forbid", strict=True):
    """What `cli.images.note` notes."""

    bits: int | None = None
    classes: list[str] = []
    resize: str | None = None
    depth: int | None = pydantic.Field(default=None, ge=8, le=16)


class _Notes(pydantic.BaseModel, extra="ignore", strict=True):
    """What the verbs read; a `schema` is checked where it is used."""

    training: dict[str, Any] = {}
    images: _OfImages = _OfImages()
    source: str | None = None


def check_notes(flow: Flow, folder: Path) -> None:
    """Raise `StoreError` when what is noted of the training, the images or the source has another
    form, or fits another flow.
    """
    try:
        notes = _Notes.model_validate(flow.metadata)
    except pydantic.ValidationError as error:
        raise StoreError(f"{folder}: its metadata are damaged: {first_fault(error)}") from None
    if notes.images.bits not in (None, flow.bits):
        raise StoreError(
            f"{folder}: its metadata are of images of {notes.images.bits} bits, its flow takes"
            f" {flow.bits}"
        )
    if len(notes.images.classes) not in (0, flow.classes or len(notes.images.classes)):
        raise StoreError(
            f"{folder}: its metadata name {len(notes.images.classes)} classes, its flow has"
            f" {flow.classes}"
        )
    if len(set(notes.images.classes)) < len(notes.images.classes):
        raise StoreError(f"{folder}: its metadata name two classes alike")
    if notes.images.resize is not None:
        _check_size(flow, folder, notes.images.resize)


def _check_size(flow: Flow, folder: Path, resize: str) -> None:
    """Images of another size would be made, however large, before they are held against the
    flow's.
    """
    try:
        size = height_width(resize)
    except (ConfigError, ValueError):
        size = None
    if size != tuple(flow.event_shape[1:]):
        raise StoreError(
            f"{folder}: its metadata resize images to {printable(resize, 60)}, its flow takes"
            f" {flow.event_shape[1:]}"
        )
