"""Whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..core.transform import Transform
from ..layers import Dequantize
from .base import Floats, Support

__all__ = ["Integer"]


@dataclass(frozen=True)
class Integer(Support):
    """..., −1, 0, 1, ...: x + u with noise u on [0, 1) has a density that bounds the
    probabilities.
    """

    form: ClassVar[str] = "integer"
    example: ClassVar[str] = "integer"
    whole: ClassVar[bool] = True

    @property
    def words(self) -> str:
        return "a whole number"

    def outside(self, values: Floats) -> NDArray[np.bool_]:
        return np.asarray(values != np.floor(values))

    def layer(self, bound: float) -> Transform | None:
        return Dequantize()
