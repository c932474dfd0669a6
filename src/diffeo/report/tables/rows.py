"""The rows that a report is about: scored, encoded and sampled."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.passes import passes
from ...core.seeds import seeder
from ...core.streams import Stream, mix
from ...data import Table
from ...flow import Flow
from ...training import FitResult

__all__ = ["Rows", "baseline_rows", "collect", "noise_seed", "parted", "sample", "some"]

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
S = TypeVar("S", bound=Sized)
MOST_ROWS = 50_000
HELD_OUT = 3_000_000  # numbers scored for the headline: 3,000 rows of 1,000 columns, ten seconds
BUDGET = 1_000_000  # numbers looked at for each of the other parts
PASS = 8192  # rows per pass, as validation in training


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Some rows of a table with their log-densities (N,), latents (N, D) and where they stood in
    the source.
    """

    x: Floats
    context: Floats | None
    lines: Numbers
    log_prob: Floats
    z: Floats
    total: int
    """How many rows there were to choose from."""

    def __len__(self) -> int:
        return len(self.x)

    def finite(self) -> NDArray[np.bool_]:
        """Rows of a finite log-density."""
        return np.isfinite(self.log_prob)


def collect(
    flow: Flow, table: Table, result: FitResult, *, held_out: Table | None, seed: int
) -> tuple[Rows, Rows | None]:
    """Training rows (a sample when there are many) and held-out rows (None when there are none)."""
    noise = noise_seed(result)
    train, (source, index) = parted(table, result, held_out)
    training = _measure(
        flow, table, some(train, _limit(BUDGET, table), seed), total=len(train), noise=noise
    )
    if not len(index):
        return training, None
    return training, _measure(
        flow, source, some(index, _limit(HELD_OUT, table), seed), total=len(index), noise=noise
    )


def parted(data: S, result: FitResult, held_out: S | None) -> tuple[Numbers, tuple[S, Numbers]]:
    """The numbers of the training rows of `data`; and where the held-out rows are, with their
    numbers there.
    """
    train = _index(result.train_index, len(data))
    if held_out is not None:
        return train, (held_out, np.arange(len(held_out)))
    return train, (
        data,
        np.arange(0) if result.valid_index is None else _index(result.valid_index, len(data)),
    )


def some(index: Numbers, limit: int, seed: int) -> Numbers:
    """At most `limit` of the numbers, chosen by seed, in their order."""
    if len(index) <= limit:
        return index
    chosen: Numbers = np.sort(np.random.default_rng(seed).permutation(index)[:limit])
    return chosen


def baseline_rows(table: Table, result: FitResult, seed: int) -> tuple[Floats, Floats | None, int]:
    """Training rows for the baselines, as many as take seconds; their contexts; and how many there
    are.
    """
    train = _index(result.train_index, len(table))
    width = table.values.shape[1]
    chosen = some(train, max(5_000, min(2 * 10**10 // width**2, 10**7 // width)), seed)
    return (
        table.values[chosen],
        None if table.context is None else table.context[chosen],
        len(train),
    )


def noise_seed(result: FitResult) -> int:
    """The seed of the dequantisation noise in validation: the report's figure is then the one that
    training printed.
    """
    return mix(int(result.settings.get("seed", 0)), Stream.VALIDATION)


@torch.no_grad()
def sample(flow: Flow, count: int, context: Floats | None, *, seed: int) -> tuple[Floats, Numbers]:
    """Draws (n, D), fewer than `count` of very wide rows.

    For a conditional flow also the numbers of the rows of `context` (N, C) that they were drawn at.
    """
    generator = torch.Generator().manual_seed(seed)
    count = min(count, max(500, BUDGET // int(np.prod(flow.event_shape))))
    if context is None:
        return _double(flow.sample((count,), generator=generator)), np.arange(0)
    rows = np.random.default_rng(seed).permutation(
        np.resize(np.arange(len(context)), max(count, 1))
    )
    return _double(flow.sample((), torch.from_numpy(context[rows]), generator=generator)), rows


@torch.no_grad()
def _measure(flow: Flow, table: Table, index: Numbers, *, total: int, noise: int) -> Rows:
    x = table.values[index]
    context = None if table.context is None else table.context[index]
    logs: list[Tensor] = []
    latents: list[Tensor] = []
    flow.eval()
    with seeder(flow)(noise):
        for part, context_part in passes(
            torch.from_numpy(x), None if context is None else torch.from_numpy(context), PASS
        ):
            z, logdet = flow.encode(part, context_part)
            logs.append(flow.base.log_prob(z).to(logdet.dtype) + logdet)
            latents.append(z)
    log_prob = _double(torch.cat(logs))
    log_prob[np.isnan(log_prob)] = -np.inf
    return Rows(
        x=x,
        context=context,
        lines=table.lines[index],
        log_prob=log_prob,
        z=_double(torch.cat(latents)),
        total=total,
    )


def _index(index: Tensor | None, rows: int) -> Numbers:
    return np.arange(rows) if index is None else np.asarray(index.cpu().numpy(), dtype=np.int64)


def _limit(numbers: int, table: Table) -> int:
    return int(np.clip(numbers // table.values.shape[1], 1000, MOST_ROWS))


def _double(tensor: Tensor) -> Any:
    return tensor.detach().double().cpu().numpy()
