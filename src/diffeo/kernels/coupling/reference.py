"""Coupling layers in PyTorch, one after the other: select, network, map, put back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..elementwise import Pair
from .layer import Stack

__all__ = ["couple"]


def couple(stack: Stack, x: Tensor, context: Tensor | None) -> Pair:
    """x (B, D) or (B, C, H, W), for vectors with a context (B, N) -> y like x, log-det (B,)."""
    features = x.shape[1]
    count = len(stack.orders) // features
    depth = len(stack.weights) // count
    total = x.new_zeros(x.shape[0])
    for i in range(count):
        order = slice(i * features, (i + 1) * features)
        net = slice(i * depth, (i + 1) * depth)
        layer = Stack(
            kernel=stack.kernel,
            orders=stack.orders[order],
            weights=stack.weights[net],
            biases=stack.biases[net],
        )
        x, logdet = _one(layer, x, context)
        total = total + logdet
    return x, total


def _one(layer: Stack, x: Tensor, context: Tensor | None) -> Pair:
    size_a = layer.weights[0].shape[1] - (0 if context is None else context.shape[1])
    index = torch.tensor(layer.orders, dtype=torch.long, device=x.device)
    a, b = x.index_select(1, index[:size_a]), x.index_select(1, index[size_a:])
    h = a if context is None else torch.cat([a, context], 1)
    for weight, bias in zip(layer.weights[:-1], layer.biases[:-1], strict=True):
        h = _linear(h, weight, bias).relu()
    params = _linear(h, layer.weights[-1], layer.biases[-1])
    params = params.unflatten(1, (b.shape[1], -1)).movedim(2, -1)
    y, logdet = layer.kernel(b, params, by_row=True)
    return x.index_copy(1, index[size_a:], y), logdet


def _linear(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if h.dim() == 2:
        return F.linear(h, weight, bias)
    return F.conv2d(h, weight, bias, padding=weight.shape[-1] // 2)
