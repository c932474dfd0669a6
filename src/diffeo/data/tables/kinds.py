"""Which support suits a column of numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...supports import Integer, Positive, Real, Support

__all__ = ["infer_support"]

EXACT = 2.0**53  # float64 holds every whole number up to here
SAMPLE = 100_000  # values from which the skewness is judged


def infer_support(values: NDArray[np.float64], integral: bool) -> Support:
    """Integer if the source says so and every value is whole; positive if that makes it clearly
    less skew; else real.

    `values` (N,) are finite. `integral` is True if the source holds whole numbers (`2`, not `2.0`).

    >>> str(infer_support(np.exp(np.linspace(-3, 3, 99)), False))
    'positive'
    """
    if integral and (values == np.floor(values)).all():
        return Integer()
    if (values > 0).all():
        part = values[:: max(1, len(values) // SAMPLE)]
        plain = skewness(part)
        logged = skewness(np.log(part))
        if plain > 1 and abs(logged) < abs(plain):
            return Positive()
    return Real()


def skewness(values: NDArray[np.float64]) -> float:
    """The third standardised moment; 0 for a constant. Safe for values as large as 1e300."""
    scale = float(np.abs(values).max(initial=0.0))
    centred = values / scale if scale > 0 else values
    centred = centred - centred.mean()
    spread = float(centred.std())
    return float(((centred / spread) ** 3).mean()) if spread > 0 else 0.0
