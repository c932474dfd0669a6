"""The coupling layer, and how kernels run it."""

from . import plan
from .coupling import Coupling

__all__ = ["Coupling", "plan"]
