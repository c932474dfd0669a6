"""What values one column of a vector may take: the grammar shared by tables, models and the command
line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from .errors import ConfigError

__all__ = ["Kind", "Support"]

Kind = Literal["real", "positive", "interval", "circular", "integer"]


@dataclass(frozen=True)
class Support:
    """The support of one column: the real line, (0, ∞), (low, high), a circle [low, high), or the
    integers.

    Written `real`, `positive`, `interval:0:1`, `circular:0:360`, `integer`.

    >>> Support.parse("circular:0:360")
    Support(kind='circular', low=0.0, high=360.0)
    >>> str(Support.parse("interval:-1:1"))
    'interval:-1.0:1.0'
    """

    kind: Kind = "real"
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(
                f"unknown kind of column {self.kind!r}: use one of {', '.join(get_args(Kind))}"
            )
        bounded = self.kind in ("interval", "circular")
        if not bounded and (self.low is not None or self.high is not None):
            raise ConfigError(f"a column of kind {self.kind!r} takes no bounds")
        if bounded and (self.low is None or self.high is None):
            raise ConfigError(
                f"a column of kind {self.kind!r} needs bounds: write {self.kind}:LOW:HIGH"
            )
        if (
            self.low is not None
            and self.high is not None
            and not -math.inf < self.low < self.high < math.inf
        ):
            raise ConfigError(f"bounds {self.low}:{self.high} must be finite, the lower one first")

    @classmethod
    def parse(cls, text: str) -> Support:
        """Read the written form. Raises `ConfigError` with the grammar when it cannot."""
        kind, *bounds = text.split(":")
        try:
            low, high = (float(b) for b in bounds) if bounds else (None, None)
        except ValueError:
            raise ConfigError(
                f"cannot read {text!r}: write real, positive, integer, interval:0:1 or"
                " circular:0:360"
            ) from None
        return cls(kind, low, high)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return self.kind if self.low is None else f"{self.kind}:{self.low}:{self.high}"
