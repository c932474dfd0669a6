"""Distances between samples and data, and between latents and their base, column by column."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..bases import Normal, Product, StudentT, Uniform
from ..core.distribution import Distribution

__all__ = [
    "critical",
    "ks_normal",
    "ks_normals",
    "ks_two",
    "most_dependent",
    "normal_scores",
    "ranks_correlation",
    "unusual",
]

Floats = NDArray[np.float64]


def ks_two(a: Floats, b: Floats) -> float:
    """Two-sample Kolmogorov–Smirnov statistic: the largest gap between the distribution functions
    of a (N,) and b (M,).
    """
    if not len(a) or not len(b):
        return float("nan")
    a, b = np.sort(a), np.sort(b)
    both = np.concatenate((a, b))
    gap = np.searchsorted(a, both, "right") / len(a) - np.searchsorted(b, both, "right") / len(b)
    return float(np.abs(gap).max())


def ks_normal(z: Floats) -> float:
    """Kolmogorov–Smirnov statistic of z (N,) against N(0, 1)."""
    return float(ks_normals(z[:, None])[0])


def ks_normals(z: Floats) -> Floats:
    """`ks_normal` of each column of z (N, K)."""
    from scipy.special import ndtr

    if not len(z):
        return np.full(z.shape[1], np.nan)
    below = ndtr(np.sort(z, axis=0))
    steps = np.arange(len(z) + 1)[:, None] / len(z)
    return np.asarray(np.maximum((steps[1:] - below).max(0), (below - steps[:-1]).max(0)))


def critical(n: int, m: int | None = None) -> float:
    """The KS statistic that equal distributions exceed one time in twenty, for n rows (against m
    rows).
    """
    effective = n if m is None else n * m / max(1, n + m)
    return float(1.358 / np.sqrt(max(effective, 1e-9)))


def ranks_correlation(x: Floats) -> Floats:
    """Spearman's rank correlations (D, D) of the columns of x (N, D); zero for constant columns,
    and on the diagonal.
    """
    from scipy.stats import rankdata

    ranks = rankdata(x, axis=0)
    ranks = (ranks - ranks.mean(0)) / np.maximum(ranks.std(0), 1e-12)
    correlation: Floats = ranks.T @ ranks / len(x)
    np.fill_diagonal(correlation, 0.0)
    return correlation


def most_dependent(correlation: Floats, count: int = 5) -> list[int]:
    """Columns of the strongest pair, then one by one the column that depends most on one already
    chosen.
    """
    strength = np.abs(correlation)
    if len(strength) <= count:
        return list(range(len(strength)))
    chosen = [int(i) for i in np.unravel_index(strength.argmax(), strength.shape)]
    while len(chosen) < count:
        rest = strength[chosen].max(0)
        rest[chosen] = -1.0
        chosen.append(int(rest.argmax()))
    return sorted(chosen)


def normal_scores(base: Distribution, z: Floats) -> tuple[Floats, list[str]]:
    """Latents (N, K) that would be standard normal if they followed `base`, and what each of the K
    columns is.

    Entries with a uniform or Student t base pass through its distribution function first. Entries
    of other bases, such as mixtures, are left out.
    """
    columns: dict[int, tuple[Floats, str]] = {}
    for indices, part in _parts(base):
        for i in indices:
            if (scored := _scores(part, z[:, i])) is not None:
                columns[i] = (
                    scored,
                    f"z{i}"
                    if isinstance(part, Normal)
                    else f"z{i} ({type(part).__name__} base, as normal scores)",
                )
    order = sorted(columns)
    return np.stack([columns[i][0] for i in order], 1) if order else np.empty((len(z), 0)), [
        columns[i][1] for i in order
    ]


def unusual(rows: Floats, reference: Floats) -> NDArray[np.int64]:
    """For each of rows (M, D) the column that lies farthest from the median of `reference`, in
    robust units of spread.
    """
    middle = np.median(reference, axis=0)
    spread = np.median(np.abs(reference - middle), axis=0) * 1.4826
    fallback = np.abs(reference - middle).mean(0)
    spread = np.where(spread > 0, spread, np.where(fallback > 0, fallback, 1.0))
    return np.asarray(np.nan_to_num(np.abs(rows - middle) / spread).argmax(1))


def _parts(base: Distribution) -> Iterator[tuple[list[int], Distribution]]:
    if not isinstance(base, Product):
        yield list(range(int(np.prod(base.event_shape)))), base
        return
    start = 0
    order = base.order.tolist()
    for part, size in zip(base.parts, base.sizes, strict=True):
        assert isinstance(part, Distribution)
        yield order[start : start + size], part
        start += size


def _scores(part: Distribution, z: Floats) -> Floats | None:
    from scipy.special import ndtri, stdtr

    if isinstance(part, Normal):
        return z
    if isinstance(part, Uniform):
        below = (z - part.low) / (part.high - part.low)
    elif isinstance(part, StudentT):
        below = stdtr(part.df, z)
    else:
        return None
    return np.asarray(ndtri(np.clip(below, 1e-12, 1 - 1e-12)))
