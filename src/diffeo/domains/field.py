"""Fields: real values (C, H, W) on a lattice, from arrays or from an action."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from ..card import DataNote
from ..core.errors import ConfigError
from .base import Domain
from .image import ImageDomain
from .recommend import ImageRecommendation, recommend_images

__all__ = ["FieldDomain"]

LIKE_IMAGES = ImageDomain()  # memory and time of networks that convolve are the same


class FieldDomain(Domain):
    """Fields; no file is taken for one, they come as arrays.

    >>> FieldDomain().default_model
    'lattice'
    """

    name: ClassVar[str] = "field"
    event: ClassVar[str] = "field"
    note: ClassVar[type[DataNote] | None] = None
    unit: ClassVar[str] = "bits/dim"
    mirrored: ClassVar[bool] = True
    drawn: ClassVar[bool] = False
    levels: ClassVar[bool] = False
    examined: ClassVar[bool] = False
    most_held_out: ClassVar[int] = ImageDomain.most_held_out
    evaluations: ClassVar[int] = ImageDomain.evaluations
    contexts: ClassVar[tuple[str, ...] | None] = ()

    def looks_like(self, source: Any) -> bool:
        return False

    def read(self, source: Any, **options: Any) -> Any:
        """Raises `ConfigError`: there is no file of them."""
        raise ConfigError("fields are not read from files: give an array (N, C, H, W)")

    def arguments(self, data: Any, *, conditional: bool) -> dict[str, Any]:
        return {"event_shape": tuple(data.shape[1:])}

    def recommend(self, rows: int, dims: int, context: int = 0) -> ImageRecommendation:
        return recommend_images(rows, dims)

    def units(self, event_shape: Sequence[int]) -> float:
        return math.prod(event_shape) * math.log(2)

    def set_up_rows(self, event_shape: Sequence[int]) -> int:
        return LIKE_IMAGES.set_up_rows(event_shape)

    def jacobians(self, wanted: int, event_shape: Sequence[int]) -> int:
        return LIKE_IMAGES.jacobians(wanted, event_shape)
