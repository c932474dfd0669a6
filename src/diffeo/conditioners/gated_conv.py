"""Flow++'s network: gated convolutions with self-attention."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import elu, layer_norm, scaled_dot_product_attention

from ..core.errors import ConfigError
from ..core.settings import number, whole
from ..core.shapes import Shape
from .context import ImageContext, add_context
from .conv import image_shapes, per_entry, zero_conv

__all__ = ["GatedConv"]


@dataclass(frozen=True)
class GatedConv:
    """`blocks` × [h ← norm(h + gated conv(h)), h ← norm(h + gated attention(h))] between 3×3
    convolutions.

    Flow++, Ho et al. 2019, arXiv:1902.00275: 3×3 and 1×1 convolutions with concatenated ELUs, gates
    a ⊙ σ(b), layer norm over channels, attention over pixels with learned positions (`heads=0`
    leaves it out, as where images are large). The context (a vector, a label or an image) is a bias
    of the first feature maps. The last layer starts at zero. Raises `ConfigError` unless `heads` is
    zero or divides `width`, sizes are at least 1, and 0 ≤ dropout < 1.

    >>> import torch, diffeo
    >>> net = diffeo.conditioners.GatedConv(width=16, blocks=1)((2, 8, 8), (2, 8, 8, 3), None)
    >>> net(torch.ones(5, 2, 8, 8), None).shape
    torch.Size([5, 2, 8, 8, 3])
    """

    width: int = 96
    blocks: int = 10
    heads: int = 4
    dropout: float = 0.0

    def __post_init__(self) -> None:
        whole("width", self.width)
        whole("blocks", self.blocks)
        number("dropout", self.dropout, least=0, below=1)
        if whole("heads", self.heads, least=None) < 0 or (self.heads and self.width % self.heads):
            raise ConfigError(
                f"heads={self.heads} must divide width={self.width}, or be 0 for no attention"
            )

    def __call__(self, in_shape: Shape, out_shape: Shape, context_shape: Shape | None) -> nn.Module:
        return _GatedConv(self, in_shape, out_shape, context_shape)


class _GatedConv(nn.Module):
    def __init__(
        self, spec: GatedConv, in_shape: Shape, out_shape: Shape, context_shape: Shape | None
    ) -> None:
        super().__init__()
        channels, grid, outputs, self.params = image_shapes(in_shape, out_shape)
        self.first = nn.Conv2d(channels, spec.width, 3, padding=1)
        self.context = (
            None if context_shape is None else ImageContext(context_shape, spec.width, grid)
        )
        blocks: list[nn.Module] = []
        for _ in range(spec.blocks):
            blocks += [_GatedBlock(spec.width, spec.dropout), _Norm(spec.width)]
            blocks += (
                [_Attention(spec.width, spec.heads, grid), _Norm(spec.width)] if spec.heads else []
            )
        self.blocks = nn.Sequential(*blocks)
        self.last = zero_conv(spec.width, outputs, 3)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = add_context(self.first(x), self.context, context)
        return per_entry(self.last(self.blocks(h)), self.params)


class _Norm(nn.Module):
    """Layer norm over the channels of each pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias).movedim(
            -1, 1
        )


class _GatedBlock(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.spread = nn.Conv2d(2 * width, width, 3, padding=1)
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.gate = nn.Conv2d(2 * width, 2 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.gate(self.dropout(_both_elus(self.spread(_both_elus(x))))).chunk(2, 1)
        out: Tensor = x + a * torch.sigmoid(b)
        return out


class _Attention(nn.Module):
    """x + gate(heads of softmax(q kᵀ) v over all pixels)."""

    def __init__(self, width: int, heads: int, grid: Shape) -> None:
        super().__init__()
        self.heads = heads
        self.position = nn.Parameter(0.01 * torch.randn(grid[0] * grid[1], width))
        self.project = nn.Linear(width, 3 * width)
        self.gate = nn.Linear(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2) + self.position
        q, k, v = self.project(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        a, b = self.gate(mixed).chunk(2, -1)
        out: Tensor = x + (a * torch.sigmoid(b)).transpose(1, 2).unflatten(2, x.shape[2:])
        return out


def _both_elus(x: Tensor) -> Tensor:
    return torch.cat([elu(x), elu(-x)], 1)
