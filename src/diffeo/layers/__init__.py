"""What goes into a chain."""

from .actnorm import ActNorm
from .bounded import Interval, Positive, Wrap
from .columns import Columns
from .conv1x1 import Conv1x1
from .coupling import Coupling
from .dequantize import Dequantize, VariationalDequantize
from .factor_out import FactorOut
from .flatten import Flatten
from .linear import LULinear
from .logit import Logit
from .pad import Pad
from .patchify import Patchify
from .periodic_conv import PeriodicConv
from .permute import Permute
from .pointwise import Pointwise
from .recompute import Recompute
from .regress import Regress
from .squeeze import Squeeze
from .standardize import Standardize
from .whiten import Whiten

__all__ = [
    "ActNorm",
    "Columns",
    "Conv1x1",
    "Coupling",
    "Dequantize",
    "FactorOut",
    "Flatten",
    "Interval",
    "LULinear",
    "Logit",
    "Pad",
    "Patchify",
    "PeriodicConv",
    "Permute",
    "Pointwise",
    "Positive",
    "Recompute",
    "Regress",
    "Squeeze",
    "Standardize",
    "VariationalDequantize",
    "Whiten",
    "Wrap",
]
