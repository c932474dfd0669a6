"""Objectives, the trainer, and `fit`, which brings a flow and data to it."""

from ..domains.recommend import Recommendation, recommend
from .config import TrainConfig
from .evaluate import Evaluation, evaluate, log_probs, rows_per_pass
from .fit import fit
from .objectives import LossFunction, NegativeLogLikelihood, Objective
from .progress import Progress, print_progress, progress_callback
from .result import FitResult
from .trainer import Trainer

__all__ = [
    "Evaluation",
    "FitResult",
    "LossFunction",
    "NegativeLogLikelihood",
    "Objective",
    "Progress",
    "Recommendation",
    "TrainConfig",
    "Trainer",
    "evaluate",
    "fit",
    "log_probs",
    "print_progress",
    "progress_callback",
    "recommend",
    "rows_per_pass",
]
