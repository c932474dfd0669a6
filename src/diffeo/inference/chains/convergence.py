"""Have the chains converged, and how many independent draws are they worth? Rank-normalised R-hat
and ESS.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ...core.errors import ShapeError

__all__ = ["ess_bulk", "ess_tail", "rhat"]

# entries looked at together: the columns of long chains are taken a few at a time
BLOCK = 2_000_000


def rhat(chains: Tensor) -> Tensor:
    """Split R̂ (D,) of chains (C, N, D): the larger of that of rank-normalised draws and that of
    their distances to the median.

    R̂ = √(B/W + 1 − 1/n), B the variance of the means of half chains of n draws, W the mean
    variance within them: 1 when they agree, above 1.01 not converged. NaN for columns that are
    constant or not finite, and for chains of fewer than 4 draws. Vehtari et al. 2021,
    arXiv:1903.08008. Raises `ShapeError` unless the chains have three axes.

    >>> x = torch.randn(4, 500, 2, generator=torch.Generator().manual_seed(0))
    >>> x[0, :, 1] += 1
    >>> [round(float(r), 2) for r in rhat(x)]
    [1.0, 1.11]
    """
    return _by_column(
        chains, lambda x: torch.fmax(_rhat(_scores(_split(x))), _rhat(_scores(_folded(_split(x)))))
    )


def ess_bulk(chains: Tensor) -> Tensor:
    """Effective sample size (D,) of chains (C, N, D) for means and medians: that of their
    rank-normalised halves.

    NaN where `rhat` is: a chain that never moved is not worth C N draws. Vehtari et al. 2021,
    arXiv:1903.08008.

    >>> x = torch.randn(4, 1000, 1, generator=torch.Generator().manual_seed(0))
    >>> bool(ess_bulk(x) > 3000), bool(ess_bulk(x.repeat_interleave(10, 1)) < 5000)
    (True, True)
    """
    return _by_column(chains, lambda x: _ess(_scores(_split(x))))


def ess_tail(chains: Tensor, share: float = 0.05) -> Tensor:
    """Effective sample size (D,) for the quantiles at `share` and 1 − `share`, the smaller of the
    two.

    NaN where `rhat` is. Vehtari et al. 2021, arXiv:1903.08008.
    """
    return _by_column(
        chains, lambda x: torch.minimum(*(_ess(_split(_below(x, p))) for p in (share, 1 - share)))
    )


def _by_column(chains: Tensor, measure: Callable[[Tensor], Tensor]) -> Tensor:
    """`measure` maps (D, C, N) to (D,); given float64, a block of columns at a time, and forgiven
    where it cannot know.
    """
    if chains.dim() != 3:
        raise ShapeError(
            f"chains have shape {tuple(chains.shape)}: pass (chains, draws, dimensions)"
        )
    c, n, d = chains.shape
    if n < 4 or not c * d:
        return chains.new_full((d,), math.nan, dtype=torch.float64)
    x = chains.detach().permute(2, 0, 1)
    return torch.cat(
        [_known(block.double(), measure) for block in x.split(max(1, BLOCK // (c * n)))]
    )


def _known(x: Tensor, measure: Callable[[Tensor], Tensor]) -> Tensor:
    flat = x.flatten(1)
    unknown = ~flat.isfinite().all(1) | (flat.amax(1) == flat.amin(1))
    known: Tensor = measure(torch.where(unknown[:, None, None], 0.0, x)).masked_fill(
        unknown, math.nan
    )
    return known


def _split(x: Tensor) -> Tensor:
    """Each chain cut into its first and last half: (D, C, N) -> (D, 2C, N // 2)."""
    half = x.shape[2] // 2
    return torch.cat([x[..., :half], x[..., -half:]], 1)


def _scores(x: Tensor) -> Tensor:
    """Ranks over all chains, ties averaged, as normal scores: Φ⁻¹((r − 3/8) / (S + 1/4))."""
    flat = x.flatten(1)
    ordered = flat.sort(1).values
    below = torch.searchsorted(ordered, flat)
    upto = torch.searchsorted(ordered, flat, right=True)
    rank = (below + upto + 1).double() / 2
    scores: Tensor = torch.special.ndtri((rank - 0.375) / (flat.shape[1] + 0.25))
    return scores.view(x.shape)


def _folded(x: Tensor) -> Tensor:
    return (x - _quantile(x, 0.5)).abs()


def _below(x: Tensor, share: float) -> Tensor:
    return (x <= _quantile(x, share)).double()


def _quantile(x: Tensor, share: float) -> Tensor:
    """Of all draws of a column, between order statistics linearly: (D, 1, 1)."""
    ordered = x.flatten(1).sort(1).values
    at = share * (ordered.shape[1] - 1)
    low = ordered[:, math.floor(at)]
    high = ordered[:, math.ceil(at)]
    return low.lerp(high, at - math.floor(at))[:, None, None]


def _rhat(x: Tensor) -> Tensor:
    n = x.shape[2]
    between = x.mean(2).var(1)
    within = x.var(2).mean(1)
    return (between / within + (n - 1) / n).sqrt()


def _ess(x: Tensor) -> Tensor:
    """S / τ of (D, C, N), with Geyer's initial monotone sequence of the autocorrelations pooled
    over chains.
    """
    d, c, n = x.shape
    covariance = _autocovariance(x).mean(1)
    within = covariance[:, :1] * n / (n - 1)
    total = covariance[:, :1] + (x.mean(2).var(1)[:, None] if c > 1 else 0.0)
    rho = 1 - (within - covariance) / total
    rho[:, 0] = 1.0
    tau = _geyer(rho[:, : 2 * ((n - 3) // 2 + 1) if n > 4 else 2].reshape(d, -1, 2))
    # a quantile that all draws are below: as good as known
    constant = x.flatten(1).amax(1) == x.flatten(1).amin(1)
    return torch.where(constant, 1.0, 1 / tau.clamp_min(1 / math.log10(c * n))) * (c * n)


def _geyer(pairs: Tensor) -> Tensor:
    """τ = −1 + 2 Σ of pairs (D, K, 2) of autocorrelations, from a non-increasing hull, up to the
    first that is not positive.
    """
    sums = pairs.sum(2)
    last = (sums > 0).double().cumprod(1).sum(1).long().clamp_max(sums.shape[1] - 1)[:, None]
    used = torch.arange(sums.shape[1], device=sums.device) < last
    # half of the pair at which the sum stops, where it helps
    even = pairs[..., 0].gather(1, last).squeeze(1)
    even = torch.where(sums.gather(1, last).squeeze(1) >= 0, even, even.clamp_min(0.0))
    return -1 + 2 * (sums.cummin(1).values * used).sum(1) + even


def _autocovariance(x: Tensor) -> Tensor:
    """At every lag, biased, by FFT: (D, C, N) -> (D, C, N)."""
    n = x.shape[2]
    spectrum = torch.fft.rfft(x - x.mean(2, keepdim=True), 1 << (2 * n - 1).bit_length())
    lags: Tensor = torch.fft.irfft(spectrum.abs().square())[..., :n] / n
    return lags
