"""A Gaussian kernel density estimate whose bandwidth is chosen by cross-validated likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ...core.gaussian import LOG_2PI, Gaussian, folds, moments

__all__ = ["KernelDensity"]

Floats = NDArray[np.float64]
CENTRES = 5_000  # training rows that get a kernel
CHOICE_ROWS = 1_500  # training rows that choose the bandwidth
BANDWIDTHS = np.geomspace(0.02, 3.0, 20)
WIDEST = 200  # columns up to which whitening is tried
CHUNK = 1_000  # rows per pass


@dataclass(frozen=True)
class Scaling:
    """Columns of mean 0 and standard deviation 1: what `Gaussian.whiten` is to correlated ones."""

    mean: Floats
    scale: Floats

    def whiten(self, x: Floats) -> tuple[Floats, float]:
        """Standardised rows, and log|det| of the map to them."""
        return (x - self.mean) / self.scale, -float(np.log(self.scale).sum())


@dataclass(frozen=True, kw_only=True)
class KernelDensity:
    """p(x) = mean over centres c of N(w(x); w(c), h²) · |det dw/dx|, w standardising or whitening
    the columns.

    With `given` > 0 the last columns are conditioned on: the joint estimate over the marginal one,
    of the same kernel.
    """

    space: Gaussian | Scaling
    white: bool
    centres: Floats
    """In whitened or standardised units."""
    bandwidth: float
    given: int
    note: str

    @classmethod
    def fit(cls, x: Floats, given: int = 0, *, seed: int = 0) -> Self:
        """Choose space and bandwidth by the likelihood of held-out folds of x (N, D); at most 5,000
        rows get a kernel.
        """
        rows = np.random.default_rng(seed).permutation(len(x))[:CENTRES]
        x_few = x[rows[:CHOICE_ROWS]]
        free = x.shape[1] - given
        spaces = [
            False,
            *([True] if not given and 1 < free <= WIDEST and len(x_few) >= 2 * free else []),
        ]
        totals = np.array([_held_out(x_few, white, given) for white in spaces])
        best, k = np.unravel_index(totals.argmax(), totals.shape)
        # The best width shrinks as n^(−1/(D+4)): from the rows of a fold to all centres.
        shrink = (len(rows) / (0.8 * len(x_few))) ** (-1 / (x.shape[1] + 4))
        space = _space(x, spaces[best])
        width = float(BANDWIDTHS[k] * min(shrink, 1.0))
        return cls(
            space=space,
            white=spaces[best],
            centres=space.whiten(x[rows])[0],
            bandwidth=width,
            given=given,
            note=_note(spaces[best], width, len(rows), rows=len(x)),
        )

    def log_prob(self, x: Floats) -> Floats:
        """Log-density (M,) of rows x (M, D) in nats, in the data's own units."""
        w, logdet = self.space.whiten(x)
        if self.given:
            logdet = -float(np.log(self.space.scale[: -self.given]).sum())
        kernels = _log_kernels(w, self.centres, np.array([self.bandwidth]), given=self.given)
        return np.asarray(kernels[0] + logdet)


def _note(white: bool, width: float, centres: int, *, rows: int) -> str:
    subset = f", {centres:,} of {rows:,} training rows as centres" if centres < rows else ""
    return (
        f"bandwidth {width:.3g} on {'whitened' if white else 'standardised'} columns, chosen by"
        f" cross-validation{subset}"
    )


def _space(x: Floats, white: bool) -> Gaussian | Scaling:
    return Gaussian.fit(x) if white else Scaling(*moments(x))


def _held_out(x: Floats, white: bool, given: int) -> Floats:
    """Total log-density of held-out folds for each bandwidth."""
    if len(x) < 2:
        # a single row says nothing about widths: about its own unit
        return -np.abs(np.log(BANDWIDTHS))
    total = np.zeros(len(BANDWIDTHS))
    whole = None if white else _space(x, False)
    for fit, held in folds(len(x), 5):
        space = whole or _space(x[fit], True)
        w, logdet = space.whiten(x[held])
        total += (_log_kernels(w, space.whiten(x[fit])[0], BANDWIDTHS, given=given) + logdet).sum(1)
    return np.where(np.isfinite(total), total, -1e300)


def _log_kernels(w: Floats, centres: Floats, widths: Floats, *, given: int) -> Floats:
    """log of the mean kernel at each row for each width, (widths, rows)."""
    free = w.shape[1] - given
    out = np.empty((len(widths), len(w)))
    for start in range(0, len(w), CHUNK):
        part = slice(start, start + CHUNK)
        joint = _squares(w[part], centres)
        context = _squares(w[part, free:], centres[:, free:]) if given else None
        for k, h in enumerate(widths):
            below = np.log(len(centres)) if context is None else _log_sum(context, h)
            out[k, part] = _log_sum(joint, h) - below - free * (np.log(h) + 0.5 * LOG_2PI)
    return np.where(np.isnan(out), -np.inf, out)


def _squares(a: Floats, b: Floats) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):
        squares = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * (a @ b.T)
    return np.where(np.isnan(squares), np.inf, np.maximum(squares, 0.0))


def _log_sum(squares: Floats, h: float) -> Floats:
    nearest = squares.min(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        total = np.log(np.exp((nearest - squares) / (2 * h * h)).sum(1)) - nearest[:, 0] / (
            2 * h * h
        )
    return np.asarray(total)
