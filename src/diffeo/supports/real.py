"""Any real number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.transform import Transform
from .base import Floats, Numbers, Scalar, Support

__all__ = ["Real"]


@dataclass(frozen=True)
class Real(Support, Scalar):
    """−∞ < x < ∞: x = u."""

    form: ClassVar[str] = "real"
    example: ClassVar[str] = "real"

    @property
    def words(self) -> str:
        return "a real number"

    def outside(self, values: Floats) -> NDArray[np.bool_]:
        return np.zeros(values.shape, dtype=np.bool_)

    def layer(self, bound: float) -> Transform | None:
        return None

    @staticmethod
    def value(u: Tensor, numbers: Numbers) -> Tensor:
        return u

    @staticmethod
    def log_slope(u: Tensor, numbers: Numbers) -> Tensor:
        return torch.zeros_like(u)

    @staticmethod
    def coordinate(x: Tensor, numbers: Numbers) -> tuple[Tensor, Tensor]:
        inside = x.isfinite()
        return torch.where(inside, x, 0.0), inside
