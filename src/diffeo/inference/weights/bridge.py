"""log Z from draws of both sides."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["bridge"]

ROUNDS = 100
GROUPS = 8


def bridge(chains: Tensor, draws: Tensor) -> tuple[float, float]:
    """log Z and its standard error from log weights log p̃/q at states of chains of p, (C, N), and
    at draws of q, (M,).

    The optimal bridge of Meng & Wong 1996 (Statistica Sinica 6), which needs q and p to overlap and
    not one to cover the other. The error is the spread over eight groups of chains and draws, so it
    has the chains' autocorrelation in it.

    >>> g = torch.Generator().manual_seed(0)
    >>> u, v = 2 * torch.randn(80, 100, generator=g), torch.randn(8000, generator=g)
    >>> # p = N(0, 4), q = N(0, 1), log Z = 3
    >>> log_w = lambda u: 3 - math.log(2) - 0.5 * ((u / 2) ** 2 - u**2)
    >>> value, error = bridge(log_w(u), log_w(v))
    >>> abs(value - 3) < 4 * error < 0.2
    True
    """
    chains = chains.double()
    draws = draws.double()
    groups = min(GROUPS, len(chains))
    parts = zip(chains.chunk(groups), draws.chunk(groups), strict=False)
    each = torch.tensor([_bridge(c.flatten(), d) for c, d in parts], dtype=torch.float64)
    error = float(each.std() / math.sqrt(len(each))) if len(each) > 1 else math.inf
    return _bridge(chains.flatten(), draws), error


def _bridge(of_p: Tensor, of_q: Tensor) -> float:
    """The fixed point of Z = E_q [w / (s_p w + s_q Z)] / E_p [1 / (s_p w + s_q Z)], in
    logarithms.
    """
    log_sp, log_sq = (math.log(len(x) / (len(of_p) + len(of_q))) for x in (of_p, of_q))
    value = torch.cat([of_p, of_q]).median()
    for _ in range(ROUNDS):
        up = of_q - torch.logaddexp(log_sp + of_q, log_sq + value)
        down = -torch.logaddexp(log_sp + of_p, log_sq + value)
        value = up.logsumexp(0) - math.log(len(of_q)) - down.logsumexp(0) + math.log(len(of_p))
    return float(value)
