"""The hot inner functions of the maps, compiled where a compiler is; `which` says what serves."""

from .affine import affine
from .coupled import Coupled, Cut, coupled, retraced
from .few_inputs import few_inputs
from .fused import Kernel
from .logistic_mixture import MixtureShape, logistic_mixture
from .native import Kernels, kernels, serves, which
from .rq_spline import SplineShape, rq_spline, rq_spline_bend

__all__ = [
    "Coupled",
    "Cut",
    "Kernel",
    "Kernels",
    "MixtureShape",
    "SplineShape",
    "affine",
    "coupled",
    "few_inputs",
    "kernels",
    "logistic_mixture",
    "retraced",
    "rq_spline",
    "rq_spline_bend",
    "serves",
    "which",
]
