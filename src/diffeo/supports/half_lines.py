"""Numbers above a bound, and numbers below one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.open_ends import finite_exp, off_the_ends
from .base import Kind, Numbers, Scalar, check_bounds, read_numbers
from .positive import Positive

__all__ = ["GreaterThan", "LessThan"]


@dataclass(frozen=True)
class GreaterThan(Scalar):
    """x > low: x = low + eᵘ, log dx/du = u."""

    form: ClassVar[str] = "greater_than:LOW"
    example: ClassVar[str] = "greater_than:1"
    low: float

    def __post_init__(self) -> None:
        check_bounds(self.low, math.inf)

    @classmethod
    def read(cls, text: str) -> Kind:
        (bound,) = read_numbers(text)
        return Positive() if bound == 0 else cls(bound)

    @staticmethod
    def value(u: Tensor, numbers: Numbers) -> Tensor:
        low = numbers[0].to(u)
        return off_the_ends(low + finite_exp(u), low, torch.full_like(low, math.inf))

    @staticmethod
    def log_slope(u: Tensor, numbers: Numbers) -> Tensor:
        return u

    @staticmethod
    def coordinate(x: Tensor, numbers: Numbers) -> tuple[Tensor, Tensor]:
        low = numbers[0].to(x)
        inside = (x > low) & x.isfinite()
        return torch.where(inside, x - low, 1.0).log(), inside


@dataclass(frozen=True)
class LessThan(Scalar):
    """x < high: x = high − eᵘ, log |dx/du| = u."""

    form: ClassVar[str] = "less_than:HIGH"
    example: ClassVar[str] = "less_than:1"
    high: float

    def __post_init__(self) -> None:
        check_bounds(-math.inf, self.high)

    @staticmethod
    def value(u: Tensor, numbers: Numbers) -> Tensor:
        high = numbers[0].to(u)
        return off_the_ends(high - finite_exp(u), torch.full_like(high, -math.inf), high)

    @staticmethod
    def log_slope(u: Tensor, numbers: Numbers) -> Tensor:
        return u

    @staticmethod
    def coordinate(x: Tensor, numbers: Numbers) -> tuple[Tensor, Tensor]:
        high = numbers[0].to(x)
        inside = (x < high) & x.isfinite()
        return torch.where(inside, high - x, 1.0).log(), inside
