"""The mixture of logistics."""

from .op import MixtureShape, logistic_mixture

__all__ = ["MixtureShape", "logistic_mixture"]
