"""Glow's learned prior of what is factored out: one more affine coupling in front of a standard
normal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...conditioners import ConvNet
from ...core.shapes import Shape
from ...core.transform import Transform
from ...layers import Coupling
from ...maps import Affine
from ...partitions import Channels

__all__ = ["split_prior"]


def split_prior(context: Shape | None, width: int = 32) -> Callable[[Shape], Iterable[Transform]]:
    """p(x_B | x_A) = N(μ(x_A), σ(x_A)²) for the channels x_B that leave, with a small convolutional
    network.
    """
    return lambda shape: [Coupling(shape, Affine(3.0), ConvNet(width), Channels(), context)]
