"""The hot inner functions of the maps; `which` says what implementation serves."""

from .rq_spline import SplineShape, rq_spline, rq_spline_bend

__all__ = ["SplineShape", "rq_spline", "rq_spline_bend", "which"]


def which() -> str:
    """The implementation in use: `eager`, PyTorch operations with analytic gradients."""
    return "eager"
