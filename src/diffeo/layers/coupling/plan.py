"""What the planner of the kernels is told of coupling layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...core.numerics import full_precision, gradients
from ...kernels import CouplingLayer, planner, relu_layers
from .coupling import Coupling

__all__ = ["describe", "retrace"]


@planner.describes(Coupling)
def describe(layer: Coupling, inverse: bool) -> CouplingLayer | None:
    """What one call for the whole layer needs, where its map, partition and network allow it."""
    kernel = layer.map.kernel(inverse)
    order = layer.partition.feature_order(layer.event_shape)
    network = relu_layers(layer.conditioner)
    if kernel is None or order is None or network is None:
        return None
    return CouplingLayer(kernel, order, *network, layer.event_shape, layer.context_shape)


@planner.retraces(Coupling)
def retrace(
    layer: Coupling,
    y: Tensor,
    context: Tensor | None,
    grads: tuple[Tensor, Tensor],
    others: Sequence[Tensor],
) -> planner.Retraced:
    """Through the inverse alone, so that the conditioner is evaluated once.

    x_B = T⁻¹(y_B; θ) with log-derivative l'. For gradients g by y_B and h by log|det|, that by x_B
    is G = (g − h ∂l'/∂y_B) ∂y_B/∂x_B, and those by θ are those of −G x_B − h l' at fixed G and h.
    """
    a, b = layer.partition.split(y)
    grad_a, grad_b = layer.partition.split(grads[0])
    by_logdet = grads[1].view(-1, *[1] * (b.dim() - 1))
    with torch.enable_grad():
        a = a.detach().requires_grad_()
        params = layer.params(a, context)
        x, logdet, curve = layer.map.inverse_and_logdet_grad(full_precision(b), params)
    back = torch.addcmul(grad_b, by_logdet, curve, value=-1) * (-logdet.detach()).exp()
    by_a, *rest = gradients([(x, -back), (logdet, -by_logdet.expand_as(logdet))], [a, *others])
    grad_x = layer.partition.merge(grad_a if by_a is None else grad_a + by_a, back)
    return layer.partition.merge(a.detach(), x.detach()), grad_x, tuple(rest)
