"""From integers to a density."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.transform import Transform

__all__ = ["Dequantize"]


class Dequantize(Transform):
    """y = x + u, u ~ U[0, 1): a density on reals whose integral over [n, n + 1) bounds the probability of n.

    E_u log p(x + u) ≤ log P(x) (Theis et al. 2016, arXiv:1511.01844), hence `exact = False`: log-densities are terms of
    a lower bound, and noise comes from torch's global generator. The inverse rounds down to the integers.

    >>> import torch, diffeo
    >>> layer = diffeo.layers.Dequantize()
    >>> layer.inverse(layer(torch.tensor([[3.0]]))[0])[0]
    tensor([[3.]])
    """

    exact = False
    any_dtype = True

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = x if x.is_floating_point() else x.double()
        below_next = torch.nextafter(x + 1, x)  # x + u may round up to x + 1, another integer
        return torch.minimum(x + torch.rand_like(x), below_next), x.new_zeros(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y.floor(), y.new_zeros(len(y))
