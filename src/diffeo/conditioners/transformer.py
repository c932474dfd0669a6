"""Jet's network: a vision transformer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from ..core.errors import ConfigError, ShapeError
from ..core.settings import whole
from ..core.shapes import Shape
from .base import linear, zero_linear
from .context import TokenContext, add_context

__all__ = ["Transformer"]


@dataclass(frozen=True)
class Transformer:
    """A pre-norm transformer of `depth` blocks over the tokens x_A (N, D), learned positions added;
    θ is read off per token.

    h ← h + attention(norm(h)), h ← h + MLP(norm(h)) with an MLP of 4 × `width` (Vaswani et al.
    2017, arXiv:1706.03762), the conditioner of Jet (Kolesnikov et al. 2024, arXiv:2412.15129). The
    context, any shape, is a bias of all tokens. When more tokens are transformed than condition,
    the missing ones enter as their position alone. The last layer starts at zero. Raises
    `ConfigError` unless `heads` divides `width`.

    >>> import torch, diffeo
    >>> net = diffeo.conditioners.Transformer(width=16, depth=1, heads=2)((4, 6), (4, 6, 2), None)
    >>> net(torch.ones(5, 4, 6), None).shape
    torch.Size([5, 4, 6, 2])
    """

    width: int = 512
    depth: int = 2
    heads: int = 8

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads"):
            whole(name, getattr(self, name))
        if self.width % self.heads:
            raise ConfigError(f"heads={self.heads} must divide width={self.width}")

    def __call__(self, in_shape: Shape, out_shape: Shape, context_shape: Shape | None) -> nn.Module:
        return _Transformer(self, in_shape, out_shape, context_shape)


class _Transformer(nn.Module):
    def __init__(
        self, spec: Transformer, in_shape: Shape, out_shape: Shape, context_shape: Shape | None
    ) -> None:
        super().__init__()
        if len(in_shape) != 2 or len(out_shape) != 3:
            raise ShapeError(
                f"a transformer reads tokens (N, D) and gives (N', D', P), not {in_shape} and"
                f" {out_shape}"
            )
        (given, size), (self.wanted, *each) = in_shape, out_shape
        self.each: Shape = tuple(each)
        count = max(given, self.wanted)
        self.missing = count - given
        self.embed = linear(size, spec.width)
        self.position = nn.Parameter(0.02 * torch.randn(count, spec.width))
        self.context = None if context_shape is None else TokenContext(context_shape, spec.width)
        self.blocks = nn.Sequential(*(_Block(spec.width, spec.heads) for _ in range(spec.depth)))
        self.norm = nn.LayerNorm(spec.width)
        self.head = zero_linear(spec.width, math.prod(each))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h: Tensor = self.embed(x)
        if self.missing:
            h = pad(h, (0, 0, 0, self.missing))
        h = self.blocks(add_context(h + self.position, self.context, context))
        out: Tensor = self.head(self.norm(h[:, : self.wanted])).unflatten(-1, self.each)
        return out


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.project, self.back = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = (
            self.project(self.norms[0](h)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )
        h = h + self.back(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        out: Tensor = h + self.mlp(self.norms[1](h))
        return out
