"""The few numerical rules that maps and layers share (docs/numbers.md)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "centre_and_scale",
    "covariance_of",
    "full_precision",
    "gradients",
    "soft_clamp",
    "sum_event",
]


def soft_clamp(x: Tensor, bound: float) -> Tensor:
    """bound · tanh(x / bound): symmetric, slope 1 at zero, never beyond ±bound, finite for any
    input.
    """
    return torch.tanh(x / bound) * bound


def sum_event(x: Tensor) -> Tensor:
    """Sum over all but the batch axis: `(B, *event) -> (B,)`."""
    return x.flatten(1).sum(1) if x.dim() > 1 else x


def full_precision(x: Tensor) -> Tensor:
    """float16 and bfloat16 become float32: log-dets, densities and maps are never computed in half
    precision.
    """
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def centre_and_scale(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased standard deviation and a mask of constant entries over the batch axis, all in
    float64.

    Entries are divided by their largest size first, so that 1e±200 neither overflows nor vanishes
    when squared. A spread within rounding of zero counts as constant and gets scale 1.
    """
    x = x.detach().to(torch.float64) if x.device.type != "mps" else x.detach()
    size = x.abs().amax(0).clamp_min(torch.finfo(x.dtype).tiny)
    unit = x / size
    mean = unit.mean(0)
    std = (unit - mean).square().mean(0).sqrt()
    constant = std <= 8 * torch.finfo(x.dtype).eps
    return mean * size, torch.where(constant, torch.ones_like(std), std * size), constant


def covariance_of(rows: Tensor) -> Tensor:
    """Biased covariance (D, D) of rows (N, D), also of a single column."""
    size = rows.shape[1]
    return torch.cov(rows.T, correction=0).reshape(size, size)


def gradients(
    pairs: Sequence[tuple[Tensor, Tensor]], inputs: Sequence[Tensor], create_graph: bool = False
) -> tuple[Tensor | None, ...]:
    """The gradients by `inputs` of outputs, given with the gradients by them; None where nothing
    depends on an input.
    """
    live = [(out, grad) for out, grad in pairs if out.requires_grad]
    if not live:
        return (None,) * len(inputs)
    outs, grads = zip(*live, strict=True)
    return torch.autograd.grad(outs, inputs, grads, create_graph=create_graph, allow_unused=True)
