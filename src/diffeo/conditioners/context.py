"""How convolutional networks and transformers read a context."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from ..core.shapes import Shape, flat

__all__ = ["ImageContext", "TokenContext"]


class ImageContext(nn.Module):
    """A context as a bias of feature maps (B, width, h, w).

    A context image (C, H, W) is brought to the size of the features by averaging (or repeating)
    pixels and convolved, so it acts where it lies; any other context is one bias per feature map,
    the same at every pixel.
    """

    def __init__(self, context_shape: Shape, width: int, grid: Shape) -> None:
        super().__init__()
        self.grid = (grid[0], grid[1])
        self.image = len(context_shape) == 3
        self.read: nn.Module = (
            nn.Conv2d(context_shape[0], width, 3, padding=1)
            if self.image
            else nn.Linear(math.prod(context_shape), width)
        )

    def forward(self, context: Tensor) -> Tensor:
        if not self.image:
            bias: Tensor = self.read(flat(context))
            return bias[:, :, None, None]
        if context.shape[2:] != self.grid:
            context = adaptive_avg_pool2d(context, self.grid)
        features: Tensor = self.read(context)
        return features


class TokenContext(nn.Module):
    """A context as one bias (B, 1, width) of all tokens."""

    def __init__(self, context_shape: Shape, width: int) -> None:
        super().__init__()
        self.read = nn.Linear(math.prod(context_shape), width)

    def forward(self, context: Tensor) -> Tensor:
        bias: Tensor = self.read(flat(context))
        return bias[:, None]


def add_context(features: Tensor, read: nn.Module | None, context: Tensor | None) -> Tensor:
    """Features plus what is read of the context, if there is one."""
    if read is None or context is None:
        return features
    out: Tensor = features + read(context)
    return out
