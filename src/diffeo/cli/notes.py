"""Does what a model folder notes of its data fit its flow, whoever wrote it?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import ConfigError, StoreError
from ..core.text import printable
from .images import height_width

if TYPE_CHECKING:
    from ..flow import Flow

__all__ = ["check_notes"]


def check_notes(flow: Flow, folder: Path) -> None:
    """Raise `StoreError` when what is noted of the images fits another flow."""
    from ..data.images.note import ImageNote
    from ..domains.image import bits_of, classes_of

    note = flow.card.data
    if not isinstance(note, ImageNote):
        return
    bits = bits_of(flow)
    classes = classes_of(flow)
    if note.bits not in (None, bits):
        raise StoreError(
            f"{folder}: its metadata are of images of {note.bits} bits, its flow takes {bits}"
        )
    if len(note.classes) not in (0, classes or len(note.classes)):
        raise StoreError(
            f"{folder}: its metadata name {len(note.classes)} classes, its flow has {classes}"
        )
    if len(set(note.classes)) < len(note.classes):
        raise StoreError(f"{folder}: its metadata name two classes alike")
    if note.resize is not None:
        _check_size(flow, folder, note.resize)


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
