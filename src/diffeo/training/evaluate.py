"""Held-out likelihood of a flow, row by row and in one figure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.errors import ConfigError, DataError
from ..core.passes import passes, rows_per_pass
from ..core.seeds import seeder
from ..core.streams import mix
from ..flow import Flow
from .arrays import as_tensor

__all__ = ["Evaluation", "evaluate", "log_probs", "rows_per_pass"]


@dataclass(frozen=True)
class Evaluation:
    """Mean negative log-likelihood in nats per row, in the data's own units, with its standard
    error.
    """

    nll: float
    nll_se: float
    bits_per_dim: float
    bits_per_dim_se: float
    rows: int
    outside: int
    """Rows of density zero: outside a column's support. With any, `nll` is inf."""
    bound: bool
    """True: integer columns were dequantised, so `nll` is an upper bound."""


@torch.no_grad()
def log_probs(
    flow: Flow, x: Any, context: Any = None, *, importance: int = 1, seed: int = 0
) -> Tensor:
    """log p(x | c) (N,) on the CPU, in passes of bounded memory; dequantisation noise comes from
    `seed`.

    x is (N, *event): a tensor, an array (a masked cell makes its row NaN), a `Table` or a data
    frame.

    With `importance=k`, the bound of a flow that dequantises is averaged over k draws of the noise,
    log (1/k) Σ p(x, u_i): the larger k, the nearer to log P(x).
    """
    if importance < 1:
        raise ConfigError(f"importance must be at least 1 sample, got {importance}")
    x = as_tensor(x)
    context = None if context is None else as_tensor(context, "context")
    flow.eval()
    seeded = seeder(flow)
    repeats = 1 if flow.exact else importance
    parts = []
    for i, (rows, contexts) in enumerate(passes(x, context, rows_per_pass(flow.event_shape))):
        with seeded(mix(seed, i)):
            draws = [flow.log_prob(rows, contexts).cpu() for _ in range(repeats)]
        parts.append(
            draws[0]
            if len(draws) == 1
            else torch.stack(draws).double().logsumexp(0) - math.log(importance)
        )
    return torch.cat(parts)


def evaluate(
    flow: Flow, x: Any, context: Any = None, *, importance: int = 1, seed: int = 0
) -> Evaluation:
    """Score rows x (N, *event) and average; x, context and `importance` as in `log_probs`.

    Raises `DataError` when there are no rows, or one holds a cell that is empty, masked or not a
    number.

    >>> import torch, diffeo
    >>> diffeo.training.evaluate(diffeo.models.nsf((1,)), torch.zeros(4, 1)).nll
    0.9189385175704956
    """
    x = as_tensor(x)
    context = None if context is None else as_tensor(context, "context")
    if len(x) == 0:
        raise DataError("no rows to evaluate")
    values = log_probs(flow, x, context, importance=importance, seed=seed).double()
    if bool(values.isnan().any()):
        row = int(values.isnan().nonzero()[0])
        raise DataError(
            f"row {row} has no log-density: it, or its context, holds a value that is not a number"
            " (empty, masked or NaN)"
        )
    nll = -values.mean().item()
    per_bit = math.log(2) * max(1, math.prod(flow.event_shape))
    spread = values.std().item() if len(values) > 1 and math.isfinite(nll) else math.nan
    return Evaluation(
        nll=nll,
        nll_se=spread / math.sqrt(len(values)),
        bits_per_dim=nll / per_bit,
        bits_per_dim_se=spread / math.sqrt(len(values)) / per_bit,
        rows=len(values),
        outside=int((values == -math.inf).sum()),
        bound=not flow.exact,
    )
