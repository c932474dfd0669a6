"""The objectives, the loop and the files of a training run."""

from .defaults import Recommendation, recommend
from .evaluate import Evaluation, evaluate, log_probs, rows_per_pass
from .fit import FitResult, fit
from .loop import Loop, LoopConfig, Progress
from .objectives import NegativeLogLikelihood, Objective

__all__ = [
    "Evaluation",
    "FitResult",
    "Loop",
    "LoopConfig",
    "NegativeLogLikelihood",
    "Objective",
    "Progress",
    "Recommendation",
    "evaluate",
    "fit",
    "log_probs",
    "recommend",
    "rows_per_pass",
]
