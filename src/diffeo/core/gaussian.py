"""The full-covariance Gaussian, fitted by maximum likelihood in float64 on standardised columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["LOG_2PI", "Gaussian", "folds", "moments"]

Floats = NDArray[np.float64]
LOG_2PI = float(np.log(2 * np.pi))
SINGULAR = 1e-10  # smallest over largest eigenvalue of the correlations
RIDGES = np.array([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0])
RIDGE_ROWS = 5_000  # rows that choose the ridge


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """N(mean, diag(scale) · correlation · diag(scale)) of rows whose last `given` columns are
    conditioned on.
    """

    mean: Floats
    scale: Floats
    correlation: Floats
    """Of the standardised columns, with the ridge on its diagonal if one was needed."""
    given: int
    note: str

    @classmethod
    def fit(cls, x: Floats, given: int = 0) -> Self:
        """Maximum likelihood on x (N, D); where the covariance is singular, a ridge chosen by
        cross-validation.
        """
        mean, scale = moments(x)
        w = (x - mean) / scale
        correlation = w.T @ w / len(w)
        values = np.linalg.eigvalsh(correlation)
        if len(x) > x.shape[1] and values[0] > SINGULAR * values[-1]:
            return cls(
                mean=mean,
                scale=scale,
                correlation=correlation,
                given=given,
                note="maximum likelihood",
            )
        ridge = _ridge(w)
        note = (
            f"the covariance is singular: ridge of {ridge:g} on the correlations, chosen by"
            " cross-validation on training rows"
        )
        return cls(
            mean=mean,
            scale=scale,
            correlation=correlation + ridge * np.eye(len(mean)),
            given=given,
            note=note,
        )

    def log_prob(self, x: Floats) -> Floats:
        """Log-density (M,) of rows x (M, D) in nats, in the data's own units: of the first D −
        `given` columns.
        """
        w = (x - self.mean) / self.scale
        free = len(self.mean) - self.given
        joint = _normal(w, self.correlation) - np.log(self.scale[:free]).sum()
        if self.given:
            joint -= _normal(w[:, free:], self.correlation[free:, free:])
        return np.asarray(np.where(np.isnan(joint), -np.inf, joint))

    def whiten(self, x: Floats) -> tuple[Floats, float]:
        """Rows with identity covariance, and log|det| of the map to them."""
        axes = _whiten(self.correlation)
        logdet = np.log(np.diag(axes)).sum() - np.log(self.scale).sum()
        return ((x - self.mean) / self.scale) @ axes, float(logdet)


def moments(x: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each column, safe at any scale; a constant column has scale
    1.
    """
    mean = x.mean(0)
    constant = x.min(0) == x.max(0)
    centred = x - mean
    size = np.abs(centred).max(0)
    size[constant | (size == 0)] = 1.0
    scale = (centred / size).std(0) * size
    scale[constant | (scale == 0)] = 1.0
    return mean, scale


def folds(
    rows: int, count: int, seed: int = 0
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(rows to fit, rows to score) of each of at most `count` folds."""
    if rows < 2:
        return [(np.arange(rows), np.arange(rows))]
    parts = np.array_split(np.random.default_rng(seed).permutation(rows), max(2, min(count, rows)))
    return [(np.concatenate([p for p in parts if p is not part]), part) for part in parts]


def _whiten(covariance: Floats) -> Floats:
    """The upper triangular A with A Aᵀ = covariance⁻¹: rows w @ A are white, log|det A| = Σ log
    diag A.
    """
    lower = np.linalg.cholesky(covariance)
    return np.linalg.solve(lower, np.eye(len(lower))).T


def _normal(w: Floats, covariance: Floats) -> Floats:
    """log N(w; 0, covariance) of each row."""
    axes = _whiten(covariance)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = ((w @ axes) ** 2).sum(1)
    total: Floats = np.log(np.diag(axes)).sum() - 0.5 * squares - 0.5 * w.shape[1] * LOG_2PI
    return total


def _ridge(w: Floats) -> float:
    """The ridge under which held-out folds of the standardised training rows are likeliest."""
    if len(w) < 2:
        return 1.0
    w = w[np.random.default_rng(0).permutation(len(w))[:RIDGE_ROWS]]
    total = np.zeros(len(RIDGES))
    for fit, held in folds(len(w), 5 if w.shape[1] <= 300 else 2):
        mean = w[fit].mean(0)
        values, vectors = np.linalg.eigh((w[fit] - mean).T @ (w[fit] - mean) / len(fit))
        squares = (((w[held] - mean) @ vectors) ** 2).sum(0)
        spread = np.clip(values, 0, None)[:, None] + RIDGES
        total += 0.5 * (len(held) * np.log(spread) + squares[:, None] / spread).sum(0)
    return float(RIDGES[total.argmin()])
