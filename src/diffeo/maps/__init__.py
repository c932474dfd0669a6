"""Elementwise monotone maps: pure functions of one scalar and its parameters."""

from .additive import Additive
from .affine import Affine
from .base import ElementwiseMap
from .circular import CircularSpline
from .logistic_mixture import LogisticMixture
from .rq_spline import RQSpline

__all__ = ["Additive", "Affine", "CircularSpline", "ElementwiseMap", "LogisticMixture", "RQSpline"]
