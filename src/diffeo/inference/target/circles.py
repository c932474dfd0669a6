"""Angles: circles unrolled onto the line, and what means, spreads and quantiles are on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.numerics import sum_event
from .bijections import Bijection, Bounded

__all__ = ["Circle", "Circular"]


class Circular(Bijection):
    """Entries on circles [low, high): x = low + (cut − low + w Φ(u)) mod w, w = high − low; the
    others as in `Bounded`.

    The circle is cut open at `cut` (`low` by default) and laid onto the line, so that a uniform
    phase is a standard normal u; log|det| = Σ log w + log φ(u). Nothing is lost at the cut, which
    is a single point, but where the density is large there the mass lies at both ends of the line.
    `circular` is a mask of the event's shape; `low`, `high` and `cut` have that shape, those of
    other entries are bounds as `Bounded` takes them.

    >>> import torch
    >>> from diffeo.inference.target.circles import Circular
    >>> low, period, round_ = torch.zeros(1), torch.full((1,), 360.0), torch.tensor([True])
    >>> circle = Circular(low, period, round_, torch.tensor([270.0]))
    >>> circle.inverse(torch.zeros(1, 1))[0]
    tensor([[90.]])
    """

    def __init__(
        self, low: Tensor, high: Tensor, circular: Tensor, cut: Tensor | None = None
    ) -> None:
        super().__init__(tuple(low.shape), tuple(low.shape))
        self.low, self.high, self.circular = low.double(), high.double(), circular
        self.cut = self.low if cut is None else cut.double()
        self.others = Bounded(
            low.masked_fill(circular, -math.inf), high.masked_fill(circular, math.inf)
        )

    def value(self, u: Tensor) -> Tensor:
        circular, low, width, start = self._circles(u)
        turned = low + torch.remainder(start + width * torch.special.ndtr(u), width)
        # the remainder may round up to all of the circle
        turned = torch.where(turned < low + width, turned, low)
        return torch.where(circular, turned, self.others.value(u))

    def log_det(self, u: Tensor) -> Tensor:
        circular, _, width, _ = self._circles(u)
        slope = width.log() - 0.5 * u.square() - 0.5 * math.log(2 * math.pi)
        return self.others.log_det(u) + sum_event(torch.where(circular, slope, 0.0))

    def coordinates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`high` is the same point as `low`, and inside."""
        circular, low, width, start = self._circles(x)
        on_circle = (x >= low) & (x <= low + width)
        edge = torch.finfo(x.dtype).eps
        share = (
            torch.remainder(torch.where(circular & on_circle, x, low) - low - start, width) / width
        )
        u, inside = self.others.coordinates(x)
        turned = torch.special.ndtri(share.clamp(edge, 1 - edge))
        return torch.where(circular, turned, u), torch.where(circular, on_circle, inside)

    def _circles(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Which entries are circles; where these begin, how long they are, and from there to the
        cut. Others are [0, 1).
        """
        circular = self.circular.to(like.device)
        low, high, cut = (
            bound.to(like).masked_fill(~circular, 0.0) for bound in (self.low, self.high, self.cut)
        )
        return circular, low, torch.where(circular, high - low, 1.0), cut - low


@dataclass(frozen=True)
class Circle:
    """[low, high) with its ends joined."""

    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low

    def angle(self, x: Tensor) -> Tensor:
        """Values as angles in radians from `low`."""
        return (x - self.low) * (2 * math.pi / self.width)

    def wrap(self, x: Tensor) -> Tensor:
        """Any numbers into [low, high)."""
        turned = self.low + torch.remainder(x - self.low, self.width)
        return torch.where(turned < self.high, turned, self.low)

    def mean_and_sd(self, x: Tensor, weights: Tensor) -> tuple[float, float]:
        """The direction of E e^{iθ} and √(−2 log R), R = |E e^{iθ}|, both in the units of x;
        infinite when R is 0.

        For narrow distributions these are the ordinary mean and standard deviation. Mardia & Jupp
        2000, Directional Statistics, §2.2 and §2.3.

        >>> half = torch.tensor([0.5, 0.5])
        >>> mean, sd = Circle(0, 360).mean_and_sd(torch.tensor([350.0, 30.0]), half)
        >>> round(mean, 3), round(sd, 1)
        (10.0, 20.2)
        """
        theta, share = self.angle(x.double()), weights.double() / weights.double().sum()
        c, s = share @ theta.cos(), share @ theta.sin()
        unit = self.width / (2 * math.pi)
        mean = self.wrap(self.low + torch.atan2(s, c) * unit)
        resultant = torch.hypot(c, s).clamp_max(1.0)
        return float(mean), float((-2 * resultant.log()).sqrt()) * unit

    def around(self, x: Tensor, centre: float) -> Tensor:
        """Values as numbers within half a turn of `centre`, so that none is torn from its
        neighbours at the ends.

        >>> Circle(0, 360).around(torch.tensor([350.0, 30.0]), 10.0)
        tensor([-10.,  30.])
        """
        return centre + torch.remainder(x - centre + self.width / 2, self.width) - self.width / 2
