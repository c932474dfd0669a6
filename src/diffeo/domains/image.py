"""Images: pixels of so many bits, with class labels or without."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ..card import DataNote
from ..core.errors import DataError
from ..core.links import Links
from ..core.passes import rows_per_pass
from ..data import Images, read_images
from ..data.images.images import looks_like_images
from ..data.images.note import ImageNote
from ..flow import Flow
from ..models import takes_classes
from .base import Domain, TrainingData
from .recommend import ImageRecommendation, recommend_images

__all__ = ["ImageDomain", "bits_of", "by_class", "classes_of", "labels_for"]

MOST_COPIES = 2_000  # of an image that go through a flow for Jacobians: one of 28 × 28 needs 784
SET_UP_PASSES = 2  # set-up sees as many as twice the images that are scored at a time


class ImageDomain(Domain):
    """Images (C, H, W) of uint8.

    >>> ImageDomain().looks_like("photos.csv"), ImageDomain().looks_like("sklearn:digits")
    (False, True)
    """

    name: ClassVar[str] = "image"
    event: ClassVar[str] = "image"
    note: ClassVar[type[DataNote] | None] = ImageNote
    unit: ClassVar[str] = "bits/dim"
    mirrored: ClassVar[bool] = True
    drawn: ClassVar[bool] = True
    levels: ClassVar[bool] = True
    examined: ClassVar[bool] = False
    # validation is for choosing weights, not for the final figure
    most_held_out: ClassVar[int] = ImageRecommendation.valid_rows
    evaluations: ClassVar[int] = 20  # scoring and drawing images is dear
    contexts: ClassVar[tuple[str, ...] | None] = ("label",)

    def looks_like(self, source: Any) -> bool:
        return looks_like_images(source)

    def read(self, source: Any, **options: Any) -> Images:
        return read_images(source, **options)

    def arguments(self, data: Images, *, conditional: bool) -> dict[str, Any]:
        classes = {"classes": len(data.classes)} if conditional else {}
        return {"event_shape": data.event_shape, "bits": data.bits, **classes}

    def recommend(self, rows: int, dims: int, context: int = 0) -> ImageRecommendation:
        return recommend_images(rows, dims)

    def units(self, event_shape: Sequence[int]) -> float:
        return math.prod(event_shape) * math.log(2)

    def set_up_rows(self, event_shape: Sequence[int]) -> int:
        return SET_UP_PASSES * rows_per_pass(event_shape)

    def jacobians(self, wanted: int, event_shape: Sequence[int]) -> int:
        return min(wanted, MOST_COPIES // math.prod(event_shape))

    def training_data(self, flow: Flow, x: Any, context: Any, *, valid: Any) -> TrainingData:
        """Files are read and labels numbered alike; tensors, arrays and batches stay as they are.

        Raises `DataError` when the flow takes pixels of other depth.
        """
        images, note = self._opened(flow, x), None
        if isinstance(images, Images):
            context = labels_for(flow, images) if context is None else context
            note = ImageNote(bits=images.bits, classes=images.classes)
            x = images.tensors()[0]
        held = self._opened(flow, valid, images if isinstance(images, Images) else None)
        if isinstance(held, Images):
            valid = held.tensors()[0], labels_for(flow, held)
        return TrainingData(x, context, valid, note)

    def _opened(self, flow: Flow, x: Any, like: Images | None = None) -> Any:
        """`Images` of what is images, with classes numbered as those of `like`."""
        path = isinstance(x, (str, Path)) and self.looks_like(x)
        if not path and not isinstance(x, Images):
            return x
        bits = bits_of(flow)
        names = like.classes if like is not None and by_class(flow) else None
        images = self.read(x, classes=names, bits=bits if path else None)
        if bits is not None and images.bits != bits:
            raise DataError(
                f"{images.source}: pixels of {images.bits} bits, and the flow takes {bits}: "
                f"read_images(..., bits={bits}), or build it with bits={images.bits}"
            )
        return images


def by_class(flow: Flow) -> bool:
    """Whether a flow is conditional on the number of a class."""
    return takes_classes(flow.context_shape)


def bits_of(flow: Flow) -> int | None:
    """How many bits the pixels have that a flow takes; None for events that are not images of so
    many levels.
    """
    links = flow.transform if isinstance(flow.transform, Links) else [flow.transform]
    return next((getattr(link, "bits", None) for link in links), None)


def classes_of(flow: Flow) -> int | None:
    """How many classes a class-conditional flow knows; None for others."""
    return getattr(flow.embedding, "classes", None)


def labels_for(flow: Flow, images: Images) -> Tensor | None:
    """Class numbers, where a flow is conditional on them. Raises `DataError` when there are
    none.
    """
    if not by_class(flow):
        return None
    if images.labels is None:
        raise DataError(
            f"{images.source}: no labels, which a class-conditional flow needs one of for each"
            " image"
        )
    return images.tensors()[1]
