"""What a model remembers of the images it was trained on."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, StrictInt, StrictStr

from ...card import DataNote

__all__ = ["ImageNote"]


class ImageNote(DataNote):
    """Bits of a pixel, names of the classes, and how files were read: `resize` (HEIGHTxWIDTH),
    `depth` (bits that files of 16 bits hold).
    """

    key: ClassVar[str] = "images"
    bits: StrictInt | None = None
    classes: tuple[StrictStr, ...] = ()
    resize: StrictStr | None = None
    depth: StrictInt | None = Field(default=None, ge=8, le=16)

    def plain(self) -> dict[str, Any]:
        """As JSON has it; a depth that was not given is not in it."""
        return self.model_dump(mode="json", exclude={"depth"} if self.depth is None else None)
