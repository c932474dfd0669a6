"""What goes into a chain."""

from .actnorm import ActNorm
from .bounded import Interval, Positive, Wrap
from .columns import Columns
from .coupling import Coupling
from .dequantize import Dequantize
from .flatten import Flatten
from .linear import LULinear
from .permute import Permute
from .pointwise import Pointwise
from .standardize import Standardize

__all__ = [
    "ActNorm",
    "Columns",
    "Coupling",
    "Dequantize",
    "Flatten",
    "Interval",
    "LULinear",
    "Permute",
    "Pointwise",
    "Positive",
    "Standardize",
    "Wrap",
]
