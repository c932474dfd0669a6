"""Angles and other periodic values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import ConfigError
from ..core.transform import Transform
from ..layers import Wrap
from .base import Floats, Kind, Numbers, Scalar, Support, check_finite, read_numbers

__all__ = ["Circular"]


@dataclass(frozen=True)
class Circular(Support, Scalar):
    """[low, high) with its ends joined: x = low + (cut − low + w Φ(u)) mod w, w = high − low.

    Columns of tables stay on the circle, where models have periodic maps and a uniform base
    (`layer`). Posteriors have free coordinates: the circle is cut open at `cut` (`low` by default)
    and laid onto the line, so that a uniform phase is a standard normal u; log dx/du = log w + log
    φ(u). Nothing is lost at the cut, which is a single point, but where the density is large there
    the mass lies at both ends of the line.

    >>> numbers = tuple(torch.tensor(number) for number in Circular(0.0, 360.0, 270.0).numbers)
    >>> Circular.value(torch.zeros(1), numbers)
    tensor([90.])
    """

    form: ClassVar[str] = "circular:LOW:HIGH"
    example: ClassVar[str] = "circular:0:360"
    low: float
    high: float
    cut: float | None = None

    def __post_init__(self) -> None:
        check_finite(self.low, self.high, "a circle")
        if self.cut is not None and not self.low <= self.cut < self.high:
            raise ConfigError("a circle has finite ends and is cut within them")

    @classmethod
    def read_parameter(cls, text: str) -> Kind:
        """As `read`; a third number is where the circle is cut open."""
        low, high, *cut = read_numbers(text)
        if len(cut) > 1:
            raise ValueError(f"{text!r} does not fit {cls.form}:CUT")
        return cls(low, high, *cut)

    def arguments(self) -> tuple[str, ...]:
        cut = () if self.cut in (None, self.low) else (str(self.cut),)
        return (str(self.low), str(self.high), *cut)

    @property
    def period(self) -> float:
        return self.high - self.low

    @property
    def numbers(self) -> tuple[float, ...]:
        return (self.low, self.high, self.open_at)

    @property
    def open_at(self) -> float:
        """Where the circle is cut open for free coordinates."""
        return self.low if self.cut is None else self.cut

    # --- columns ----------------------------------------------------------------------------------

    @property
    def words(self) -> str:
        return "a real number"

    def outside(self, values: Floats) -> NDArray[np.bool_]:
        """Nowhere: a circle takes every number around to where it lies."""
        return np.zeros(values.shape, dtype=np.bool_)

    def layer(self, bound: float) -> Transform | None:
        return Wrap(self.low, self.high, bound)

    def canonical(self, values: Floats) -> Floats:
        return self.low + np.remainder(values - self.low, self.period)

    # --- coordinates ------------------------------------------------------------------------------

    @staticmethod
    def value(u: Tensor, numbers: Numbers) -> Tensor:
        low, width, start = _arc(u, numbers)
        turned = low + torch.remainder(start + width * torch.special.ndtr(u), width)
        # the remainder may round up to all of the circle
        return torch.where(turned < low + width, turned, low)

    @staticmethod
    def log_slope(u: Tensor, numbers: Numbers) -> Tensor:
        _, width, _ = _arc(u, numbers)
        return width.log() - 0.5 * u.square() - 0.5 * math.log(2 * math.pi)

    @staticmethod
    def coordinate(x: Tensor, numbers: Numbers) -> tuple[Tensor, Tensor]:
        """`high` is the same point as `low`, and inside."""
        low, width, start = _arc(x, numbers)
        inside = (x >= low) & (x <= low + width)
        share = torch.remainder(torch.where(inside, x, low) - low - start, width) / width
        edge = torch.finfo(x.dtype).eps
        return torch.special.ndtri(share.clamp(edge, 1 - edge)), inside

    # --- figures ----------------------------------------------------------------------------------

    def angle(self, x: Tensor) -> Tensor:
        """Values as angles in radians from `low`."""
        return (x - self.low) * (2 * math.pi / self.period)

    def wrap(self, x: Tensor) -> Tensor:
        """Any numbers into [low, high)."""
        turned = self.low + torch.remainder(x - self.low, self.period)
        return torch.where(turned < self.high, turned, self.low)

    def mean_and_sd(self, x: Tensor, weights: Tensor) -> tuple[float, float]:
        """The direction of E e^{iθ} and √(−2 log R), R = |E e^{iθ}|, both in the units of x;
        infinite when R is 0.

        For narrow distributions these are the ordinary mean and standard deviation. Mardia & Jupp
        2000, Directional Statistics, §2.2 and §2.3.

        >>> half = torch.tensor([0.5, 0.5])
        >>> mean, sd = Circular(0, 360).mean_and_sd(torch.tensor([350.0, 30.0]), half)
        >>> round(mean, 3), round(sd, 1)
        (10.0, 20.2)
        """
        theta = self.angle(x.double())
        share = weights.double() / weights.double().sum()
        c = share @ theta.cos()
        s = share @ theta.sin()
        unit = self.period / (2 * math.pi)
        mean = self.wrap(self.low + torch.atan2(s, c) * unit)
        resultant = torch.hypot(c, s).clamp_max(1.0)
        return float(mean), float((-2 * resultant.log()).sqrt()) * unit

    def around(self, x: Tensor, centre: float) -> Tensor:
        """Values as numbers within half a turn of `centre`, so that none is torn from its
        neighbours at the ends.

        >>> Circular(0, 360).around(torch.tensor([350.0, 30.0]), 10.0)
        tensor([-10.,  30.])
        """
        half = self.period / 2
        return centre + torch.remainder(x - centre + half, self.period) - half


def _arc(like: Tensor, numbers: Numbers) -> tuple[Tensor, Tensor, Tensor]:
    """Where circles begin, how long they are, and how far it is from there to the cut."""
    low, high, cut = (number.to(like) for number in numbers)
    return low, high - low, cut - low
