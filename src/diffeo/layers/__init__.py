"""What goes into a chain."""

from .coupling import Coupling
from .coupling.pointwise import Pointwise
from .geometry.columns import Columns
from .geometry.factor_out import FactorOut
from .geometry.flatten import Flatten
from .geometry.pad import Pad
from .geometry.patchify import Patchify
from .geometry.squeeze import Squeeze
from .memory.recompute import Recompute
from .mixing.conv1x1 import Conv1x1
from .mixing.linear import LULinear
from .mixing.periodic_conv import PeriodicConv
from .mixing.permute import Permute
from .noise.dequantize import Dequantize, VariationalDequantize
from .reals.actnorm import ActNorm
from .reals.bounded import Interval, Positive, Wrap
from .reals.logit import Logit
from .reals.regress import Regress
from .reals.standardize import Standardize
from .reals.whiten import Whiten

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
