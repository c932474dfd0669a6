"""Convolutional networks: Glow's, and the residual one of RealNVP."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core.errors import ShapeError
from ..core.settings import number, one_of, whole
from ..core.shapes import Shape
from .base import ACTIVATIONS, activation
from .context import ImageContext, add_context

__all__ = ["ConvNet", "ConvResNet", "image_shapes", "per_entry", "zero_conv"]


@dataclass(frozen=True)
class ConvNet:
    """θ = 3×3 conv ∘ φ ∘ 1×1 conv ∘ φ ∘ 3×3 conv of x_A (C, H, W), with `width` feature maps; the
    last starts at zero.

    Glow's network, Kingma & Dhariwal 2018, arXiv:1807.03039. The context (a vector, a label or an
    image) is a bias of the first feature maps. Raises `ConfigError` for a width below 1 or an
    unknown activation.

    >>> import torch, diffeo
    >>> net = diffeo.conditioners.ConvNet(width=16)((2, 8, 8), (2, 8, 8, 3), None)
    >>> net(torch.ones(5, 2, 8, 8), None).shape
    torch.Size([5, 2, 8, 8, 3])
    """

    width: int = 512
    activation: str = "relu"

    def __post_init__(self) -> None:
        whole("width", self.width)
        one_of("activation", self.activation, ACTIVATIONS)

    def __call__(self, in_shape: Shape, out_shape: Shape, context_shape: Shape | None) -> nn.Module:
        return _ConvNet(self, in_shape, out_shape, context_shape)


class _ConvNet(nn.Module):
    def __init__(
        self, spec: ConvNet, in_shape: Shape, out_shape: Shape, context_shape: Shape | None
    ) -> None:
        super().__init__()
        channels, grid, outputs, self.params = image_shapes(in_shape, out_shape)
        self.first = nn.Conv2d(channels, spec.width, 3, padding=1)
        self.context = (
            None if context_shape is None else ImageContext(context_shape, spec.width, grid)
        )
        act = activation(spec.activation, inplace=True)
        self.rest = nn.Sequential(
            act, nn.Conv2d(spec.width, spec.width, 1), act, zero_conv(spec.width, outputs, 3)
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = add_context(self.first(x), self.context, context)
        return per_entry(self.rest(h), self.params)

    def relu_layers(self) -> list[nn.Module] | None:
        """The convolutions, if there are but ReLUs between them."""
        act, middle, again, last = self.rest
        relus = isinstance(act, nn.ReLU) and isinstance(again, nn.ReLU)
        return [self.first, middle, last] if relus and self.context is None else None


@dataclass(frozen=True)
class ConvResNet:
    """h ← h + 3×3 conv(φ(3×3 conv(φ(h)))), `blocks` times, between 3×3 convolutions; the last
    starts at zero.

    The residual network of RealNVP (Dinh et al. 2016, arXiv:1605.08803) and of Neural Spline Flows
    on images, without batch normalisation, since rows must not see each other: residual branches
    start small instead. The context (a vector, a label or an image) is a bias of the first feature
    maps. Raises `ConfigError` for sizes below 1, an unknown activation, or a dropout outside [0,
    1).

    >>> import torch, diffeo
    >>> net = diffeo.conditioners.ConvResNet(width=16, blocks=1)((2, 8, 8), (2, 8, 8, 3), (10,))
    >>> net(torch.ones(5, 2, 8, 8), torch.ones(5, 10)).shape
    torch.Size([5, 2, 8, 8, 3])
    """

    width: int = 64
    blocks: int = 4
    activation: str = "relu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        whole("width", self.width)
        whole("blocks", self.blocks)
        one_of("activation", self.activation, ACTIVATIONS)
        number("dropout", self.dropout, least=0, below=1)

    def __call__(self, in_shape: Shape, out_shape: Shape, context_shape: Shape | None) -> nn.Module:
        return _ConvResNet(self, in_shape, out_shape, context_shape)


class _ConvResNet(nn.Module):
    def __init__(
        self, spec: ConvResNet, in_shape: Shape, out_shape: Shape, context_shape: Shape | None
    ) -> None:
        super().__init__()
        channels, grid, outputs, self.params = image_shapes(in_shape, out_shape)
        self.first = nn.Conv2d(channels, spec.width, 3, padding=1)
        self.context = (
            None if context_shape is None else ImageContext(context_shape, spec.width, grid)
        )
        self.blocks = nn.ModuleList(_block(spec) for _ in range(spec.blocks))
        self.last = nn.Sequential(activation(spec.activation), zero_conv(spec.width, outputs, 3))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = add_context(self.first(x), self.context, context)
        for block in self.blocks:
            h = h + block(h)
        return per_entry(self.last(h), self.params)


def _block(spec: ConvResNet) -> nn.Module:
    last = nn.Conv2d(spec.width, spec.width, 3, padding=1)
    with torch.no_grad():
        last.weight.mul_(0.1)
    dropout = [nn.Dropout2d(spec.dropout)] if spec.dropout else []
    first = nn.Conv2d(spec.width, spec.width, 3, padding=1)
    return nn.Sequential(
        activation(spec.activation),
        first,
        activation(spec.activation, inplace=True),
        *dropout,
        last,
    )


def image_shapes(in_shape: Shape, out_shape: Shape) -> tuple[int, Shape, int, Shape]:
    """Input channels, grid (h, w), output channels, and (C_out, P); raises `ShapeError` unless both
    are images of one grid.
    """
    if len(in_shape) != 3 or len(out_shape) != 4 or in_shape[1:] != out_shape[1:3]:
        raise ShapeError(
            "a convolutional conditioner reads images (C, H, W) and gives (C', H, W, P):"
            f" {in_shape}, {out_shape}"
        )
    channels, *grid = in_shape
    outputs, params = out_shape[0], out_shape[-1]
    return channels, tuple(grid), outputs * params, (outputs, params)


def per_entry(features: Tensor, params: Shape) -> Tensor:
    """(B, C·P, H, W) -> (B, C, H, W, P), a view: with channels last, the parameters of an entry lie
    side by side.
    """
    entries: Tensor = features.unflatten(1, params).movedim(2, -1)
    return entries


def zero_conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    """A convolution that starts at zero, so that the coupling starts as the identity."""
    layer: nn.Conv2d = nn.utils.skip_init(nn.Conv2d, inputs, outputs, kernel, padding=kernel // 2)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
