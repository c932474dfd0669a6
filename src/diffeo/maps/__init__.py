"""Elementwise monotone maps: pure functions of one scalar and its parameters."""

from .additive import Additive
from .affine import Affine
from .base import ElementwiseMap
from .circular import CircularSpline
from .composed import Composed
from .cubic_spline import CubicSpline
from .linear_spline import LinearSpline
from .logistic_mixture import LogisticMixture
from .odd import Odd
from .quadratic_spline import QuadraticSpline
from .rq_spline import RQSpline

__all__ = [
    "Additive",
    "Affine",
    "CircularSpline",
    "Composed",
    "CubicSpline",
    "ElementwiseMap",
    "LinearSpline",
    "LogisticMixture",
    "Odd",
    "QuadraticSpline",
    "RQSpline",
]
