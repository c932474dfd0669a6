"""Coupling layers in one call: networks and maps while both are in the cache."""

from .layer import CouplingLayer, Order
from .network import is_bare, relu_layers
from .op import couple, retrace, takes

__all__ = ["CouplingLayer", "Order", "couple", "is_bare", "relu_layers", "retrace", "takes"]
