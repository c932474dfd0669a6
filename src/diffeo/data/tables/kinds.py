"""Which support suits a column of numbers, and whether its values keep to the one that was
declared.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...core.support import Support

__all__ = ["infer_support", "outside"]

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
        return Support("integer")
    if (values > 0).all():
        part = values[:: max(1, len(values) // SAMPLE)]
        plain, logged = skewness(part), skewness(np.log(part))
        if plain > 1 and abs(logged) < abs(plain):
            return Support("positive")
    return Support("real")


def skewness(values: NDArray[np.float64]) -> float:
    """The third standardised moment; 0 for a constant. Safe for values as large as 1e300."""
    scale = float(np.abs(values).max(initial=0.0))
    centred = values / scale if scale > 0 else values
    centred = centred - centred.mean()
    spread = float(centred.std())
    return float(((centred / spread) ** 3).mean()) if spread > 0 else 0.0


def outside(values: NDArray[np.float64], support: Support) -> NDArray[np.bool_]:
    """True where a value is not in the support. A circle holds every number: it wraps."""
    if support.kind == "positive":
        return np.asarray(values <= 0)
    if support.kind == "interval":
        assert support.low is not None
        assert support.high is not None
        return np.asarray((values <= support.low) | (values >= support.high))
    if support.kind == "integer":
        return np.asarray(values != np.floor(values))
    return np.zeros(values.shape, dtype=np.bool_)
