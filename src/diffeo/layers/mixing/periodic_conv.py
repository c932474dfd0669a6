"""A convolution with periodic boundaries, exact through Fourier space."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.fft import irfft2, rfft2

from ...core.errors import ShapeError
from ...core.numerics import full_precision, soft_clamp
from ..fixed_shape import FixedShape

__all__ = ["PeriodicConv"]

LOG_GAIN = 5.0  # every Fourier mode is scaled within exp(±5)


class PeriodicConv(FixedShape):
    """y = F⁻¹ exp(s) F x, channel by channel, log|det| = Σ_k s_k: a convolution over a torus (C, H,
    W) with any even kernel.

    F is the discrete Fourier transform and s_k = s_{−k} a bounded learned number for each pair of
    modes ±k along each axis, so the kernel is real, as large as the lattice and symmetric under
    reflections. The layer commutes with translations, and starting from white noise it gives any
    such two-point function at once. The identity at first. Periodic convolutions: Hoogeboom et al.
    2019, arXiv:1901.11137. Raises `ShapeError` unless the event is (C, H, W).

    >>> import torch, diffeo
    >>> layer = diffeo.layers.PeriodicConv((1, 8, 8))
    >>> layer(torch.zeros(5, 1, 8, 8))[0].shape
    torch.Size([5, 1, 8, 8])
    """

    mirror: Tensor
    count: Tensor

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__(event_shape)
        if len(self.event_shape) != 3:
            raise ShapeError(f"PeriodicConv takes images (C, H, W), not {self.event_shape}")
        channels, height, width = self.event_shape
        self.log_gain = nn.Parameter(torch.zeros(channels, height // 2 + 1, width // 2 + 1))
        rows = torch.arange(height)
        self.register_buffer("mirror", torch.minimum(rows, height - rows), persistent=False)
        columns = torch.arange(width // 2 + 1)
        # the real transform leaves out the mirrored half
        twice = (columns > 0) & (2 * columns != width)
        self.register_buffer("count", 1.0 + twice, persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        return self._scale(x, 1.0)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(y)
        return self._scale(y, -1.0)

    def _scale(self, x: Tensor, sign: float) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):
            log_gain = sign * soft_clamp(self.log_gain, LOG_GAIN)[:, self.mirror]
            x = full_precision(x)
            if x.shape[0]:  # there is no Fourier transform of nothing
                x = irfft2(rfft2(x) * log_gain.exp(), s=self.event_shape[1:])
            return x, (log_gain * self.count).sum().expand(x.shape[0])
