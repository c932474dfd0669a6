"""Base distributions."""

from .base import Base
from .mixture import GaussianMixture
from .normal import Normal
from .product import Product
from .student_t import StudentT
from .uniform import Uniform

__all__ = ["Base", "GaussianMixture", "Normal", "Product", "StudentT", "Uniform"]
