"""Exponential and logistic functions onto open half-lines and intervals: finite and off the ends
however far out, with all their derivatives.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = [
    "exponent",
    "finite_exp",
    "log_distances",
    "log_sigmoid_slope",
    "off_the_ends",
    "scaled_sigmoid",
]


def exponent(u: Tensor, terms: int = 1) -> Tensor:
    """u, no larger or smaller than a sum of so many eᵘ can be and stay finite and positive, with
    room for a bound to be added.
    """
    info = torch.finfo(u.dtype)
    return u.clamp(math.log(info.tiny), math.log(info.max / terms) - 1)


def finite_exp(u: Tensor) -> Tensor:
    """eᵘ, never 0, never infinite, and with a finite inverse."""
    return exponent(u).exp().clamp_min(torch.finfo(u.dtype).tiny)


def scaled_sigmoid(u: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """low + (high − low) σ(u), measured from the nearer end, so that neither end loses digits."""
    # not −|u|, whose derivative at 0 is none
    near = torch.sigmoid(torch.where(u < 0, u, -u)) * (high - low)
    return torch.where(u < 0, low + near, high - near)


def log_sigmoid_slope(u: Tensor) -> Tensor:
    """log σ'(u) = log σ(u) + log σ(−u)."""
    return logsigmoid(u) + logsigmoid(-u)


def log_distances(
    x: Tensor, low: Tensor | float, high: Tensor | float, *, inside: Tensor
) -> tuple[Tensor, Tensor]:
    """log(x − low) and log(high − x), whose difference is the inverse of `scaled_sigmoid`; 0 where
    x is not inside.
    """
    left = torch.where(inside, x - low, 1.0).log()
    right = torch.where(inside, high - x, 1.0).log()
    return left, right


def off_the_ends(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """x, moved inside (low, high) where rounding put it on an end; bounds in the dtype of x."""
    # beside a bound of 0 the next number is subnormal, and its inverse infinite
    tiny = torch.finfo(x.dtype).tiny
    least = torch.maximum(low.nextafter(high), low + tiny)
    most = torch.minimum(high.nextafter(low), high - tiny)
    return torch.clamp(x, least, most)
