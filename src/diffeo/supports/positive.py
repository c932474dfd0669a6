"""Positive numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.open_ends import finite_exp
from ..core.transform import Transform
from ..layers import Positive as PositiveLayer
from .base import Floats, Numbers, Scalar, Support

__all__ = ["Positive"]


@dataclass(frozen=True)
class Positive(Support, Scalar):
    """x > 0: x = eᵘ, log dx/du = u. Ratios count."""

    form: ClassVar[str] = "positive"
    example: ClassVar[str] = "positive"
    logarithmic: ClassVar[bool] = True

    @property
    def words(self) -> str:
        return "greater than 0"

    def outside(self, values: Floats) -> NDArray[np.bool_]:
        return np.asarray(values <= 0)

    def layer(self, bound: float) -> Transform | None:
        return PositiveLayer()

    @staticmethod
    def value(u: Tensor, numbers: Numbers) -> Tensor:
        return finite_exp(u)

    @staticmethod
    def log_slope(u: Tensor, numbers: Numbers) -> Tensor:
        # That of the formula, also where the value is clamped; `layers.Positive` takes that of the
        # value, for its directions must agree. A density of u that became flat out there would
        # have no gradient to lead back.
        return u

    @staticmethod
    def coordinate(x: Tensor, numbers: Numbers) -> tuple[Tensor, Tensor]:
        inside = (x > 0) & x.isfinite()
        return torch.where(inside, x, 1.0).log(), inside
