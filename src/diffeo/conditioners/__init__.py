"""Networks that turn the conditioning part, and any context, into the parameters of a map."""

from .base import ConditionerFactory
from .embedding import StandardizeContext
from .mlp import MLP
from .periodic import Periodic
from .residual import ResidualMLP

__all__ = ["MLP", "ConditionerFactory", "Periodic", "ResidualMLP", "StandardizeContext"]
