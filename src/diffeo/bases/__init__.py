"""Base distributions."""

from .base import Base
from .logistic import Logistic
from .mixture import GaussianMixture
from .normal import Normal
from .placed import PlacedMixture
from .product import Product
from .student_t import StudentT
from .uniform import Uniform

__all__ = [
    "Base",
    "GaussianMixture",
    "Logistic",
    "Normal",
    "PlacedMixture",
    "Product",
    "StudentT",
    "Uniform",
]
