"""Images of any size, made larger by noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...core.errors import ShapeError
from ...core.numerics import sum_event
from ...core.settings import whole
from ...core.shapes import Shape
from ..fixed_shape import FixedShape

__all__ = ["Pad"]


class Pad(FixedShape):
    """y = x with rows of noise u ~ N(0, 1) below and columns of it to the right, until `multiple`
    divides H and W.

    E_u [log p(x, u) − log N(u)] ≤ log p(x) (Huang et al. 2020, arXiv:2002.07101), hence `exact =
    False`; a flow that leaves the noise alone loses nothing. The noise comes from torch's global
    generator. The inverse cuts it off.

    >>> import torch, diffeo
    >>> diffeo.layers.Pad((1, 28, 28), multiple=8)(torch.zeros(5, 1, 28, 28))[0].shape
    torch.Size([5, 1, 32, 32])
    """

    exact, draws = False, True

    def __init__(self, event_shape: Sequence[int], multiple: int) -> None:
        super().__init__(event_shape)
        whole("multiple", multiple)
        if len(self.event_shape) != 3:
            raise ShapeError(f"images (C, H, W) can be padded, not {self.event_shape}")
        channels, height, width = self.event_shape
        self.padded: Shape = (channels, -height % multiple + height, -width % multiple + width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        _, height, width = self.event_shape
        y = torch.randn(x.shape[0], *self.padded, dtype=x.dtype, device=x.device)
        log_noise = self._log_noise(y)
        y[:, :, :height, :width] = x
        return y, -log_noise

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(y, self.padded)
        _, height, width = self.event_shape
        return y[:, :, :height, :width], self._log_noise(y)

    def _log_noise(self, y: Tensor) -> Tensor:
        """log N(u) (B,) of the margin alone: a difference of sums over the whole image would lose
        it to rounding.
        """
        _, height, width = self.event_shape
        margin = y[:, :, height:], y[:, :, :height, width:]
        squares = sum_event(margin[0].square()) + sum_event(margin[1].square())
        extra = math.prod(self.padded) - math.prod(self.event_shape)
        return -0.5 * (squares + math.log(2 * math.pi) * extra)

    def forward_shape(self, shape: Shape) -> Shape:
        super().forward_shape(shape)
        return self.padded

    def inverse_shape(self, shape: Shape) -> Shape:
        if shape != self.padded:
            raise ShapeError(f"images of shape {self.padded} are needed, got {shape}")
        return self.event_shape

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}, padded={self.padded}"
