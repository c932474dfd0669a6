"""What a flow has to beat: a full-covariance Gaussian and a kernel density estimate, in the data's
own units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...core.gaussian import Gaussian
from ...supports import Support
from .kde import KernelDensity

__all__ = ["Score", "baselines", "prepare", "score", "score_baselines"]

Floats = NDArray[np.float64]
NOISE_ROWS = 8192  # rows per pass of validation in training: the noise is drawn in the same pieces
KDE_ROWS = 10_000  # held-out rows that the kernel density estimate is asked about


@dataclass(frozen=True)
class Score:
    """Log-densities (n,) of the held-out rows `rows` (n,), and in `note` how the baseline was
    made.
    """

    log_prob: Floats
    rows: NDArray[np.int64]
    note: str

    def figures(self) -> dict[str, Any]:
        """`nll`, `nll_se` in nats per row, `rows`, `note`."""
        nll, error = score(self.log_prob)
        return {"nll": nll, "nll_se": error, "rows": len(self.rows), "note": self.note}


def baselines(
    train: Floats,
    held_out: Floats,
    supports: Sequence[str] | None = None,
    *,
    context: tuple[Floats, Floats] | None = None,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Fit a Gaussian and a kernel density estimate on `train` (N, D), score `held_out` (M, D): nats
    per row, own units.

    Integer columns of `supports` get uniform noise as the flow adds it, circular ones are wrapped.
    With `context`, a pair (N, C), (M, C), densities are conditional ones, p(x, c) / p(c). Returns
    for each of `gaussian` and `kde` a dict of `nll`, `nll_se`, `rows` and `note`.

    >>> rows = np.random.default_rng(0).normal(size=(500, 2))
    >>> bool(abs(baselines(rows[:400], rows[400:])["gaussian"]["nll"] - 2.84) < 0.3)
    True
    """
    scores = score_baselines(train, held_out, supports, context=context, seed=seed)
    return {name: one.figures() for name, one in scores.items()}


def score_baselines(
    train: Floats,
    held_out: Floats,
    supports: Sequence[str] | None = None,
    *,
    context: tuple[Floats, Floats] | None = None,
    seed: int = 0,
) -> dict[str, Score]:
    """As `baselines`, row by row, so that differences can be paired."""
    known = prepare(train, supports, seed + 1)
    asked = prepare(held_out, supports, seed)
    given = 0
    if context is not None:
        given = np.asarray(context[0]).shape[1]
        known, asked = np.hstack((known, context[0])), np.hstack((asked, context[1]))
    some = _some(len(asked), KDE_ROWS, seed)
    gaussian = Gaussian.fit(known, given)
    kde = KernelDensity.fit(known, given, seed=seed)
    subset = (
        f"; scored on {len(some):,} of {len(asked):,} held-out rows"
        if len(some) < len(asked)
        else ""
    )
    return {
        "gaussian": Score(gaussian.log_prob(asked), np.arange(len(asked)), gaussian.note),
        "kde": Score(kde.log_prob(asked[some]), some, kde.note + subset),
    }


def prepare(x: Floats, supports: Sequence[str] | None, seed: int) -> Floats:
    """Integers dequantised with the very noise that a flow draws from `seed`, circles wrapped; the
    rest as it is.
    """
    x = np.array(x, dtype=np.float64)
    parsed = [Support.parse(text) for text in supports or []]
    whole = [i for i, support in enumerate(parsed) if support.whole]
    if whole:
        x[:, whole] = np.minimum(
            x[:, whole] + _noise(len(x), len(whole), seed), np.nextafter(x[:, whole] + 1, -np.inf)
        )
    for i, support in enumerate(parsed):
        x[:, i] = support.canonical(x[:, i])
    return x


def score(log_prob: Floats) -> tuple[float, float]:
    """Mean negative log-density and its standard error (NaN for a single row)."""
    error = (
        float(log_prob.std(ddof=1) / len(log_prob) ** 0.5)
        if len(log_prob) > 1 and np.isfinite(log_prob).all()
        else np.nan
    )
    return float(-log_prob.mean()), error


def _noise(rows: int, columns: int, seed: int) -> Floats:
    generator = torch.Generator().manual_seed(seed)
    sizes = [min(NOISE_ROWS, rows - start) for start in range(0, rows, NOISE_ROWS)]
    parts = [torch.rand(n, columns, dtype=torch.float64, generator=generator) for n in sizes]
    return torch.cat(parts).numpy() if parts else np.empty((0, columns))


def _some(rows: int, limit: int, seed: int) -> NDArray[np.int64]:
    if rows <= limit:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).permutation(rows)[:limit])
