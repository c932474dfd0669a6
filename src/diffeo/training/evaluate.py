"""Held-out likelihood of a flow, row by row and in one figure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import DataError
from ..core.seeds import reseed, seeded
from ..flow import Flow
from .sampler import mix

__all__ = ["Evaluation", "evaluate", "log_probs"]

CHUNK = 8192  # rows per pass: bounds memory


@dataclass(frozen=True)
class Evaluation:
    """Mean negative log-likelihood in nats per row, in the data's own units, with its standard error."""

    nll: float
    nll_se: float
    bits_per_dim: float
    rows: int
    outside: int
    """Rows of density zero: outside a column's support. With any, `nll` is inf."""
    bound: bool
    """True: integer columns were dequantised, so `nll` is an upper bound."""


@torch.no_grad()
def log_probs(flow: Flow, x: Tensor, context: Tensor | None = None, *, seed: int = 0) -> Tensor:
    """log p(x | c) (N,) on the CPU, in passes of bounded memory; dequantisation noise comes from `seed`."""
    flow.eval()
    contexts = [None] * len(x.split(CHUNK)) if context is None else list(context.split(CHUNK))
    parts = []
    with seeded():
        for i, (rows, own) in enumerate(zip(x.split(CHUNK), contexts, strict=True)):
            reseed(mix(seed, i))
            parts.append(flow.log_prob(rows, own).cpu())
    return torch.cat(parts)


def evaluate(flow: Flow, x: Tensor, context: Tensor | None = None, *, seed: int = 0) -> Evaluation:
    """Score rows x (N, \\*event) and average. Raises `DataError` when there are none or one is not a number.

    >>> import torch, diffeo
    >>> diffeo.training.evaluate(diffeo.models.nsf((1,)), torch.zeros(4, 1)).nll
    0.9189385175704956
    """
    if len(x) == 0:
        raise DataError("no rows to evaluate")
    values = log_probs(flow, x, context, seed=seed).double()
    if bool(values.isnan().any()):
        row = int(values.isnan().nonzero()[0])
        raise DataError(f"row {row} has no log-density: it, or its context, holds a value that is not a number")
    nll = -values.mean().item()
    spread = values.std().item() if len(values) > 1 and math.isfinite(nll) else math.nan
    return Evaluation(
        nll=nll,
        nll_se=spread / math.sqrt(len(values)),
        bits_per_dim=nll / math.log(2) / max(1, math.prod(flow.event_shape)),
        rows=len(values),
        outside=int((values == -math.inf).sum()),
        bound=not flow.exact,
    )
