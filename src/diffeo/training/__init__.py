"""The objectives, the loop and the files of a training run."""

from .defaults import Recommendation, recommend
from .fit import FitResult, fit
from .loop import Loop, LoopConfig, Progress
from .objectives import NegativeLogLikelihood, Objective

__all__ = [
    "FitResult",
    "Loop",
    "LoopConfig",
    "NegativeLogLikelihood",
    "Objective",
    "Progress",
    "Recommendation",
    "fit",
    "recommend",
]
