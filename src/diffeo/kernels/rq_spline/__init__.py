"""The rational-quadratic spline."""

from .op import SplineShape, rq_spline, rq_spline_inverse_and_logdet_grad

__all__ = ["SplineShape", "rq_spline", "rq_spline_inverse_and_logdet_grad"]
