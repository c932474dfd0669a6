"""Networks that turn the conditioning part, and any context, into the parameters of a map."""

from .base import ConditionerFactory
from .conv import ConvNet, ConvResNet
from .embedding import OneHot, StandardizeContext
from .gated_conv import GatedConv
from .mlp import MLP
from .periodic import Periodic
from .residual import ResidualMLP
from .torus import TorusNet
from .transformer import Transformer

__all__ = [
    "MLP",
    "ConditionerFactory",
    "ConvNet",
    "ConvResNet",
    "GatedConv",
    "OneHot",
    "Periodic",
    "ResidualMLP",
    "StandardizeContext",
    "TorusNet",
    "Transformer",
]
