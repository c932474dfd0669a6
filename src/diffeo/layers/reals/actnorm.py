"""Glow's activation normalisation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...core.numerics import centre_and_scale, full_precision, soft_clamp
from ..fixed_shape import FixedShape

__all__ = ["ActNorm"]

# scales stay within exp(±9): a float32 round trip through them keeps 3 digits at the worst
LOG_SCALE = 9.0


class ActNorm(FixedShape):
    """y = x · exp(s) + t, one learned s and t per channel (first axis of the event), log|det| = (D
    / channels) Σ s.

    `initialize` chooses s and t so that its batch comes out with mean 0 and (biased) variance 1; a
    batch of one is allowed and sets t alone; constant channels are named in a warning. No forward
    pass ever changes them. Glow, Kingma & Dhariwal 2018, arXiv:1807.03039.

    >>> import torch, diffeo
    >>> layer = diffeo.layers.ActNorm((2,))
    >>> layer.initialize(torch.tensor([[0.0, 1.0], [2.0, 5.0]]))
    >>> layer(torch.tensor([[2.0, 5.0]]))[0].detach()
    tensor([[1., 1.]])
    """

    initialized: Tensor

    def __init__(self, event_shape: int | Sequence[int]) -> None:
        super().__init__(event_shape)
        channels, *rest = self.event_shape
        self.log_scale = nn.Parameter(torch.zeros(channels, *(1 for _ in rest)))
        self.shift = nn.Parameter(torch.zeros_like(self.log_scale))
        self.each = math.prod(rest)
        self.register_buffer("initialized", torch.tensor(False))

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        self.check(x)
        rows = x.movedim(1, -1).reshape(-1, x.shape[1])
        mean, scale, constant = centre_and_scale(rows)
        if len(rows) > 1 and bool(constant.any()):
            warnings.warn(
                f"channels {constant.nonzero().flatten().tolist()} are constant: only centred",
                stacklevel=2,
            )
        wanted = (-scale.log()).clamp(-0.9 * LOG_SCALE, 0.9 * LOG_SCALE)
        self.log_scale.copy_((LOG_SCALE * torch.atanh(wanted / LOG_SCALE)).view_as(self.log_scale))
        self.shift.copy_((-mean * wanted.exp()).view_as(self.shift))
        self.initialized.fill_(True)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        log_scale = soft_clamp(self.log_scale, LOG_SCALE)
        return full_precision(x) * log_scale.exp() + self.shift, (
            log_scale.sum() * self.each
        ).expand(x.shape[0])

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(y)
        log_scale = soft_clamp(self.log_scale, LOG_SCALE)
        return (full_precision(y) - self.shift) * (-log_scale).exp(), (
            -log_scale.sum() * self.each
        ).expand(y.shape[0])
