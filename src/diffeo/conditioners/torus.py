"""Convolutions over a lattice with periodic boundaries, of which a checkerboard hides one half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import ConfigError, ContextError, ShapeError
from ..core.settings import one_of, whole, wholes
from ..core.shapes import Shape
from .base import ACTIVATIONS, activation
from .conv import zero_conv

__all__ = ["TorusNet"]


class Cut(Protocol):
    """What is asked of a partition."""

    event_shape: Shape

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]: ...

    def merge(self, a: Tensor, b: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class TorusNet:
    """Parameters of the sites x_B of a torus (C, H, W) from convolutions of the whole lattice with
    x_B set to zero.

    `partition` says which sites condition. `kernel`×`kernel` convolutions with periodic boundaries
    to `hidden` feature maps, `activation` between them; the last starts at zero. So parameters move
    along when the sites that condition do. With `odd`, the indices of those parameters of the map
    that are to change sign with x_A (a shift), the network is tanh without biases and all other
    parameters are even in x_A: a coupling that commutes with x → −x. Albergo et al. 2021,
    arXiv:2101.08176. Raises `ShapeError` when H or W is odd, `ConfigError` for an even kernel, a
    layer without units or an unknown activation, `ContextError` with a context.

    >>> import torch, diffeo
    >>> factory = diffeo.conditioners.TorusNet(diffeo.partitions.Checkerboard((1, 8, 8)))
    >>> net = factory((2, 4, 4), (2, 4, 4, 2), None)
    >>> net(torch.ones(5, 2, 4, 4), None).shape
    torch.Size([5, 2, 4, 4, 2])
    """

    partition: Cut
    hidden: Sequence[int] = (8, 8)
    kernel: int = 3
    odd: Sequence[int] | None = None
    activation: str = "leaky_relu"

    def __post_init__(self) -> None:
        wholes("hidden", self.hidden, fewest=0)
        one_of("activation", self.activation, ACTIVATIONS)
        if whole("kernel", self.kernel) % 2 == 0:
            raise ConfigError(f"kernel must be odd, so that it has a middle, got {self.kernel}")
        if self.odd is not None:
            wholes("odd", self.odd, least=0, fewest=0)

    def __call__(self, in_shape: Shape, out_shape: Shape, context_shape: Shape | None) -> nn.Module:
        if context_shape is not None:
            raise ContextError("TorusNet takes no context")
        return _TorusNet(self, in_shape, out_shape)


class _TorusNet(nn.Module):
    sources: Tensor
    targets: Tensor

    def __init__(self, spec: TorusNet, in_shape: Shape, out_shape: Shape) -> None:
        super().__init__()
        channels, height, width = spec.partition.event_shape
        if height % 2 or width % 2:
            raise ShapeError(
                f"a checkerboard closes on a torus of even height and width, not {height} × {width}"
            )
        even = spec.odd is not None
        sizes, radius = (channels, *spec.hidden), spec.kernel // 2
        self.act = activation("tanh" if even else spec.activation)
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, spec.kernel, bias=not even) for i, o in pairwise(sizes)
        )
        odd = list(range(out_shape[-1]) if spec.odd is None else spec.odd)
        rest = [p for p in range(out_shape[-1]) if p not in odd]
        self.odd = (
            _last(sizes[-1], channels * len(odd), spec.kernel, bias=not even) if odd else None
        )
        self.even = _last(sizes[-1], channels * len(rest), spec.kernel, bias=True) if rest else None
        self.order = [(odd + rest).index(p) for p in range(out_shape[-1])]
        self.halo, self.event, self.part = (
            radius * (len(spec.hidden) + 1),
            (channels, height, width),
            out_shape[:-1],
        )
        self._number(spec.partition, in_shape)

    def _number(self, partition: Cut, in_shape: Shape) -> None:
        """Where every site of the padded lattice comes from, 0 being nowhere, and where every x_B
        lies on the lattice.
        """
        sites = torch.arange(float(torch.Size(self.event).numel())).view(1, *self.event)
        a, b = partition.split(sites)
        inputs = partition.merge(
            1.0 + torch.arange(float(a.numel())).view(a.shape), torch.zeros_like(b)
        )
        halo = self.halo
        padded = _wrapped(inputs, halo)
        self.register_buffer("sources", padded.flatten().long(), persistent=False)
        self.register_buffer("targets", b.flatten().long(), persistent=False)
        self.padded = (self.event[0], self.event[1] + 2 * halo, self.event[2] + 2 * halo)

    def forward(self, a: Tensor, context: Tensor | None = None) -> Tensor:
        # One gather pads for all convolutions, none of which pads itself; x_B is the zero in front.
        h = F.pad(a.flatten(1), (1, 0)).index_select(1, self.sources).view(-1, *self.padded)
        for conv in self.convs:
            h = self.act(conv(h))
        heads = ([] if self.odd is None else [self.odd(h)]) + (
            [] if self.even is None else [self.even(h * h)]
        )
        params = (
            torch.cat(heads, 1)
            .unflatten(1, (-1, self.event[0]))
            .flatten(2)
            .index_select(2, self.targets)
        )
        entries: Tensor = params[:, self.order].unflatten(2, self.part).movedim(1, -1)
        return entries


def _last(inputs: int, outputs: int, kernel: int, *, bias: bool) -> nn.Conv2d:
    layer = zero_conv(inputs, outputs, kernel)
    layer.padding = (0, 0)
    if not bias:
        layer.bias = None
    return layer


def _wrapped(x: Tensor, halo: int) -> Tensor:
    """Padded on a torus, also by more than its size."""
    height, width = x.shape[-2:]
    rows, columns = (
        torch.arange(-halo, height + halo) % height,
        torch.arange(-halo, width + halo) % width,
    )
    return x[..., rows, :][..., columns]
