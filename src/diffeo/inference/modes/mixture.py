"""The mixture at the known maxima that a flow starts from, and how much mass each mode has."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...bases import PlacedMixture
from ...flow import Flow
from ..target.density import LogDensity
from .laplace import Laplace

__all__ = ["gaussian_of", "mixture_of", "moments", "weigh_modes"]

ROUNDS = 3  # of updates of the weights
LEAST = 1e-4  # weight of a mode, so that none is lost by chance


def gaussian_of(maxima: list[Laplace]) -> tuple[Tensor, Tensor]:
    """Mean (D,) and Cholesky factor (D, D) of the mixture of Laplace approximations."""
    means, lowers = (
        torch.stack(each) for each in zip(*((m.mode, m.lower) for m in maxima), strict=True)
    )
    mean, covariance = moments(_weights(maxima), means, lowers)
    return mean, torch.linalg.cholesky(covariance)


def moments(weights: Tensor, means: Tensor, lowers: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of Gaussians with weights (K,), means (K, D) and Cholesky
    factors (K, D, D).
    """
    mean = weights @ means
    within = torch.einsum("k,kij,klj->il", weights, lowers, lowers)
    away = means - mean
    return mean, within + (weights[:, None] * away).T @ away


def mixture_of(maxima: list[Laplace], mean: Tensor, lower: Tensor) -> PlacedMixture:
    """The mixture in coordinates where it has mean 0 and covariance 1."""

    def white(x: Tensor) -> Tensor:
        y: Tensor = torch.linalg.solve_triangular(lower, x, upper=False)
        return y

    means = white((torch.stack([m.mode for m in maxima]) - mean).T).T
    return PlacedMixture(_weights(maxima), means, torch.stack([white(m.lower) for m in maxima]))


@torch.no_grad()
def weigh_modes(flow: Flow, target: LogDensity, *, count: int, generator: torch.Generator) -> None:
    """Set the weights of a flow's `PlacedMixture` to what importance weights say: w_k ← E_p
    [r_k(z)], r_k the share of component k in the base's density at the latent z. Cappé et al. 2008,
    arXiv:0710.4242; does nothing for other bases."""
    base = flow.base
    if not isinstance(base, PlacedMixture):
        return
    for _ in range(ROUNDS):
        z = base.sample((count,), generator=generator)
        u, logdet = flow.decode(z)
        each = base.each(z)
        log_w = target(u) - each.logsumexp(1) + logdet
        if not bool((log_w > -math.inf).any()):
            return
        weights = log_w.double().softmax(0) @ each.double().softmax(1)
        base.weigh(weights.clamp_min(LEAST))


def _weights(maxima: list[Laplace]) -> Tensor:
    return torch.tensor([m.log_z for m in maxima], dtype=torch.float64).softmax(0)
