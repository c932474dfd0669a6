"""The few numerical rules that maps and layers share (docs/numbers.md)."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["centre_and_scale", "full_precision", "soft_clamp", "sum_event"]


def soft_clamp(x: Tensor, bound: float) -> Tensor:
    """bound · tanh(x / bound): symmetric, slope 1 at zero, never beyond ±bound, finite for any input."""
    return torch.tanh(x / bound) * bound


def sum_event(x: Tensor) -> Tensor:
    """Sum over all but the batch axis: `(B, *event) -> (B,)`."""
    return x.flatten(1).sum(1) if x.dim() > 1 else x


def full_precision(x: Tensor) -> Tensor:
    """float16 and bfloat16 become float32: log-dets, densities and maps are never computed in half precision."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def centre_and_scale(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased standard deviation and a mask of constant entries over the batch axis, all in float64.

    Entries are divided by their largest size first, so that 1e±200 neither overflows nor vanishes when squared. A
    spread within rounding of zero counts as constant and gets scale 1.
    """
    x = x.detach().to(torch.float64) if x.device.type != "mps" else x.detach()
    size = x.abs().amax(0).clamp_min(torch.finfo(x.dtype).tiny)
    unit = x / size
    mean = unit.mean(0)
    std = (unit - mean).square().mean(0).sqrt()
    constant = std <= 8 * torch.finfo(x.dtype).eps
    return mean * size, torch.where(constant, torch.ones_like(std), std * size), constant
