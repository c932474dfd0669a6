"""The contract that every flow is built on, and the rules for the numbers."""

from .chain import Chain
from .distribution import Distribution
from .transform import Inverse, Transform

__all__ = ["Chain", "Distribution", "Inverse", "Transform"]
