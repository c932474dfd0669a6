"""Numbers between two bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..core.open_ends import log_distances, log_sigmoid_slope, off_the_ends, scaled_sigmoid
from ..core.transform import Transform
from ..layers import Interval as IntervalLayer
from .base import Floats, Numbers, Scalar, Support, check_finite

__all__ = ["Interval"]


@dataclass(frozen=True)
class Interval(Support, Scalar):
    """low < x < high: x = low + (high − low) σ(u), log dx/du = log(high − low) + log σ(u) + log
    σ(−u).
    """

    form: ClassVar[str] = "interval:LOW:HIGH"
    example: ClassVar[str] = "interval:0:1"
    low: float
    high: float

    def __post_init__(self) -> None:
        check_finite(self.low, self.high, "an interval")

    @property
    def words(self) -> str:
        return f"strictly between {self.low:g} and {self.high:g}"

    def outside(self, values: Floats) -> NDArray[np.bool_]:
        return np.asarray((values <= self.low) | (values >= self.high))

    def layer(self, bound: float) -> Transform | None:
        return IntervalLayer(self.low, self.high)

    @staticmethod
    def value(u: Tensor, numbers: Numbers) -> Tensor:
        low, high = (number.to(u) for number in numbers)
        return off_the_ends(scaled_sigmoid(u, low, high), low, high)

    @staticmethod
    def log_slope(u: Tensor, numbers: Numbers) -> Tensor:
        low, high = numbers
        return (high - low).log().to(u) + log_sigmoid_slope(u)

    @staticmethod
    def coordinate(x: Tensor, numbers: Numbers) -> tuple[Tensor, Tensor]:
        low, high = (number.to(x) for number in numbers)
        inside = (x > low) & (x < high)
        left, right = log_distances(x, low, high, inside=inside)
        return left - right, inside
