"""The hot inner functions of the maps, compiled where a compiler is; `which` says what serves."""

from . import planner
from .affine import affine
from .coupling import CouplingLayer, Order, is_bare, relu_layers
from .elementwise import Kernel
from .few_inputs import few_inputs
from .logistic_mixture import MixtureShape, logistic_mixture
from .native import Kernels, kernels, which
from .rq_spline import SplineShape, rq_spline, rq_spline_inverse_and_logdet_grad

__all__ = [
    "CouplingLayer",
    "Kernel",
    "Kernels",
    "MixtureShape",
    "Order",
    "SplineShape",
    "affine",
    "few_inputs",
    "is_bare",
    "kernels",
    "logistic_mixture",
    "planner",
    "relu_layers",
    "rq_spline",
    "rq_spline_inverse_and_logdet_grad",
    "which",
]
