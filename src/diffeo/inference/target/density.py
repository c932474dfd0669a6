"""An unnormalised log density over R^D, and its value and gradient at a batch of points."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ...core.errors import ShapeError

__all__ = ["LogDensity", "State", "choose", "evaluate", "log_density_at"]

LogDensity = Callable[[Tensor], Tensor]
"""Points (B, *event) -> log p̃ (B,), in nats, up to a constant."""


class State(NamedTuple):
    """Points z (B, *event), their log density (B,) in float64, and its gradient."""

    z: Tensor
    log_p: Tensor
    grad: Tensor


def log_density_at(log_density: LogDensity, z: Tensor) -> Tensor:
    """log p̃ (B,) at points z (B, *event). Raises `ShapeError` when the density is not (B,)."""
    log_p = log_density(z)
    if log_p.shape != z.shape[:1]:
        raise ShapeError(
            f"the log density has shape {tuple(log_p.shape)} for {len(z)} points: return one"
            " number per point"
        )
    return log_p


def evaluate(log_density: LogDensity, z: Tensor) -> State:
    """Log density and gradient at z (B, *event); NaN and +inf count as a density of zero, gradients
    that are not finite as zero.

    Any field of forces keeps leapfrogs reversible and their volume, so what is replaced here costs
    acceptance only. Raises `ShapeError` when the density is not (B,).

    >>> state = evaluate(lambda z: -0.5 * z.square().sum(1), torch.ones(1, 2))
    >>> state.log_p, state.grad
    (tensor([-1.], dtype=torch.float64), tensor([[-1., -1.]]))
    """
    z = z.detach().requires_grad_()
    with torch.enable_grad():
        log_p = log_density_at(log_density, z)
        grad = None
        if log_p.requires_grad:
            (grad,) = torch.autograd.grad(log_p.sum(), z, allow_unused=True)
    grad = torch.zeros_like(z) if grad is None else grad.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    log_p = log_p.detach().double()
    return State(z.detach(), torch.where(log_p.isfinite(), log_p, -math.inf), grad)


def choose(mask: Tensor, yes: State, no: State) -> State:
    """Row by row one of two states: `yes` where the mask (B,) is true."""
    wide = mask.view(-1, *[1] * (yes.z.dim() - 1))
    return State(
        torch.where(wide, yes.z, no.z),
        torch.where(mask, yes.log_p, no.log_p),
        torch.where(wide, yes.grad, no.grad),
    )
