"""From importance weights to figures, and from figures to a verdict with its reasons.

Throughout log w_i = log p̃(x_i) − log q(x_i), (N,), for independent draws x_i of the approximation
q and an unnormalised target p̃ = Z p. A weight of zero (−inf) is a draw outside the target's
support.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from .psis import pareto_k

__all__ = [
    "Diagnostics",
    "diagnose",
    "disagree",
    "drifts",
    "elbo",
    "ess",
    "eubo",
    "even",
    "gradient_snr",
    "iw_elbo",
    "log_z",
    "lost_modes",
    "verdict",
]

MOST_K = 0.7  # Vehtari et al. 2024: beyond it no practical number of draws is enough
LEAST_ESS = 0.01  # of the draws
# of the draws may miss the target's support: their weights are exactly zero, and no others are lost
MOST_OUTSIDE = 0.5
# of the target's mass; with k̂ ≤ 0.5 about 1 % of it lies beyond the weights met by chance
MOST_LOST = 0.03
# largest weight over the average one, and ESS: such weights are even, and the shape of their tail
EVEN = 2.0
EVEN_ESS = 0.99
# is that of differences which do not matter; mass that lies beyond them is for `beyond` to find
SMALL = 1e-3  # nats: estimates this close are the same for any purpose


@dataclass(frozen=True)
class Diagnostics:
    """What importance weights say about an approximation. Logarithms in nats, shares between 0 and
    1.
    """

    samples: int
    """Draws of q that the figures are made from."""
    elbo: float
    """Lower bound on log Z; log Z − ELBO is KL(q ‖ p). −inf when any draw falls outside the support
    of the target.
    """
    elbo_se: float
    log_z: float
    log_z_se: float
    """Of the weights, and of the mass `beyond` where that was looked for."""
    iw_elbo: float
    """A tighter lower bound, from groups of 50 draws."""
    ess: float
    """Effective sample size as a share of the draws."""
    k_hat: float
    """Shape of the weights' tail; estimates are usable up to 0.7."""
    max_weight_share: float
    """What the largest weight is of the sum of all."""
    minus_inf_share: float
    """Share of draws outside the support of the target."""
    eubo: float | None = None
    """Upper bound on log Z, from draws of the target; EUBO − log Z is KL(p ‖ q). None without such
    draws.
    """
    eubo_se: float | None = None
    beyond: float | None = None
    """Share of the target's mass, by tempered Monte Carlo, where weights exceed all that the draws
    met.
    """
    gradient_snr: float | None = None
    """Signal to noise of the gradient after training, a mean over parameters: small when there is
    no more to learn.
    """
    declared_share: float = 0.0
    """Share of draws outside the region that `inside` declares, part of `minus_inf_share` and no
    word against them.
    """

    def as_dict(self) -> dict[str, float | int | None]:
        """The figures by name."""
        return asdict(self)


def diagnose(log_weights: Tensor, reference: Tensor | None = None, group: int = 50) -> Diagnostics:
    """All figures from log_weights (N,) of draws of q, and the log weights (M,) at `reference`
    draws of p, where there are any.

    `group` is the K of the importance-weighted ELBO. Raises `ShapeError` unless log_weights is
    one-dimensional with N ≥ 1.

    >>> noise = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    >>> figures = diagnose(7 + 0.5 * noise)  # log Z = 7 + 0.5² / 2, ESS = exp(−0.5²)
    >>> round(figures.log_z, 1), round(figures.elbo, 1), round(figures.ess, 1), figures.eubo
    (7.1, 7.0, 0.8, None)
    """
    k_hat = pareto_k(log_weights)
    x = log_weights.detach().double()
    upper, upper_se = eubo(reference) if reference is not None else (None, None)
    return Diagnostics(
        len(x),
        *elbo(x),
        *log_z(x),
        iw_elbo(x, group)[0],
        ess(x),
        k_hat,
        _largest(x),
        _share(x == -math.inf),
        upper,
        upper_se,
    )


def elbo(log_weights: Tensor) -> tuple[float, float]:
    """ELBO = E_q log w ≤ log Z, and its standard error; −inf with an error of NaN when a weight is
    zero.

    >>> elbo(torch.tensor([1.0, 3.0]))
    (2.0, 1.0)
    """
    return _mean(log_weights.detach().double())


def eubo(reference: Tensor) -> tuple[float, float]:
    """EUBO = E_p log w ≥ log Z, from the log weights (M,) at draws of the target, and the error if
    those are independent.

    Blessing et al. 2024, arXiv:2406.07423.
    """
    return elbo(reference)


def iw_elbo(log_weights: Tensor, group: int = 50) -> tuple[float, float]:
    """E log (1/K Σ_k w_k) over groups of K = `group` draws (all, if fewer), ELBO ≤ it ≤ log Z, and
    its standard error.

    Draws that fill no group are left out. Burda et al. 2016, arXiv:1509.00519.
    """
    x = log_weights.detach().double()
    size = max(1, min(group, len(x)))
    groups = x[: len(x) // size * size].view(-1, size)
    return _mean(groups.logsumexp(1) - math.log(size))


def log_z(log_weights: Tensor) -> tuple[float, float]:
    """log Z = log (1/N Σ w_i), and its standard error.

    With r the relative error of Z, √(Var w / N) / w̄, the error is −log(1 − r): r itself where that
    is small, and infinite where one weight is all there is, instead of the 1 nat that r would say.

    >>> round(log_z(torch.tensor([0.0, 1.0]))[1], 3), log_z(torch.tensor([0.0, 900.0]))[1]
    (0.62, inf)
    """
    x = log_weights.detach().double()
    n = len(x)
    total = float(x.logsumexp(0))
    relative = (x - total).exp() * n
    r = float((relative - 1).square().sum().div(n * (n - 1)).sqrt()) if n > 1 else 1.0
    if math.isnan(r) or total == -math.inf:
        return total - math.log(n), math.nan
    return total - math.log(n), math.inf if r > 1 - 1e-9 else -math.log1p(-r)


def ess(log_weights: Tensor) -> float:
    """Effective sample size as a share of the draws, (Σ w)² / (N Σ w²); zero when all weights are.
    Kong 1992.

    >>> ess(torch.tensor([0.0, 0.0, -torch.inf, -torch.inf]))
    0.5
    """
    x = log_weights.detach().double()
    if x.max() == -math.inf:
        return 0.0
    return float((2 * x.logsumexp(0) - (2 * x).logsumexp(0)).exp() / len(x))


def gradient_snr(grads: Tensor) -> float:
    """Signal to noise of a gradient: the mean over parameters of |mean| / SD over repeats; grads
    (R, P).

    Parameters without any gradient are left out. NaN with fewer than two repeats. Rainforth et al.
    2018, arXiv:1802.04537.

    >>> round(gradient_snr(torch.tensor([[1.0, 0.0], [3.0, 0.0]])), 6)  # |2| / √2
    1.414214
    """
    if len(grads) < 2:
        return math.nan
    x = grads.detach().double()
    x = x[:, (x != 0).any(0)]
    return float((x.mean(0).abs() / x.std(0)).mean()) if x.shape[1] else 0.0


def disagree(estimates: Sequence[float], errors: Sequence[float], level: float = 1e-3) -> bool:
    """Do repeats of one estimate differ by more than their standard errors allow? A χ² test at
    `level`.

    Differences within 0.001 nats are none. Estimates with an infinite or unknown error count for
    nothing; one that is itself not finite disagrees.

    >>> disagree([1.0, 1.1], [0.1, 0.1]), disagree([1.0, 2.0], [0.1, 0.1])
    (False, True)
    """
    x = torch.tensor(estimates, dtype=torch.float64)
    if not x.isfinite().all():
        return True
    precision = (
        (torch.tensor(errors, dtype=torch.float64).square() + SMALL**2)
        .reciprocal()
        .nan_to_num(nan=0.0)
    )
    known = precision > 0
    x = x[known]
    precision = precision[known]
    if len(x) < 2:
        return False
    mean = (x * precision).sum() / precision.sum()
    chi2 = ((x - mean).square() * precision).sum()
    return bool(
        torch.special.gammaincc(torch.tensor((len(x) - 1) / 2, dtype=x.dtype), chi2 / 2) < level
    )


def drifts(log_weights: Tensor, level: float = 1e-3) -> bool:
    """Do the first and the second half of the draws disagree about log Z?"""
    estimates = [log_z(half) for half in log_weights.detach().double().chunk(2)]
    return disagree([value for value, _ in estimates], [error for _, error in estimates], level)


def lost_modes(log_weights: Tensor, reference: Tensor) -> float:
    """The share of the `reference` draws of the target whose weight (M,) exceeds every weight that
    draws of q met.

    A flow that covers the target leaves the few per cent that N draws miss by chance; one that has
    lost a mode leaves the mass of that mode.

    >>> lost_modes(torch.zeros(1000), torch.tensor([0.0, 0.0, 0.0, 60.0]))
    0.25
    """
    top = float(log_weights.detach().double().max())
    return _share(reference.detach().double() > top + SMALL)


def verdict(
    figures: Diagnostics,
    log_weights: Tensor | None = None,
    *,
    repeats: Sequence[Diagnostics] = (),
    lost: float | None = None,
) -> tuple[bool, list[str]]:
    """Did the approximation pass the diagnostics, and if not, which failed, in words.

    `log_weights`, in the order drawn, adds the test for drift; `repeats` (other runs' diagnostics)
    that for agreement on log Z; `lost` is `lost_modes` against reference draws. Passed means: no
    reason against it. A mode that neither the draws, nor the repeats, nor a reference ever met
    leaves no trace in any of these figures.

    >>> verdict(diagnose(torch.randn(5000, generator=torch.Generator().manual_seed(0))))
    (True, [])
    """
    reasons = [*_not_finite(figures), *_weights(figures)]
    if log_weights is not None and drifts(log_weights):
        reasons.append("the first and the second half of the draws disagree about log Z")
    runs = (figures, *repeats)
    if repeats and disagree([run.log_z for run in runs], [run.log_z_se for run in runs]):
        values = ", ".join(f"{run.log_z:.3f} ± {run.log_z_se:.3f}" for run in runs)
        reasons.append(f"{len(runs)} repeats disagree about log Z: {values}")
    if lost is not None and not lost <= MOST_LOST:
        reasons.append(
            f"{lost:.1%} of the reference draws lie where the flow puts next to nothing: a mode is"
            " lost"
        )
    if figures.beyond is not None and figures.beyond > MOST_LOST:
        reasons.append(
            f"a search finds {figures.beyond:.1%} of the mass where the flow puts next to nothing:"
            " log Z is too low"
        )
    return not reasons, reasons


def _not_finite(figures: Diagnostics) -> list[str]:
    if figures.minus_inf_share == 1:
        return ["every draw lies outside the support of the target"]
    # zero weights make the bounds −inf and nothing else: they are judged by their share, an
    # infinite k̂ with the weights
    excused = {"k_hat", "gradient_snr"} | (
        {"elbo", "elbo_se", "iw_elbo"} if figures.minus_inf_share > 0 else set()
    )
    values = {
        name: value
        for name, value in figures.as_dict().items()
        if value is not None and name not in excused
    }
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    return [f"not finite: {', '.join(bad)}"] if bad else []


def even(figures: Diagnostics) -> bool:
    """Are the weights so alike that the shape of their tail does not matter?"""
    inside = figures.samples * (1 - figures.minus_inf_share)
    alike = figures.max_weight_share * inside <= EVEN and figures.ess >= EVEN_ESS * (
        1 - figures.minus_inf_share
    )
    return inside >= 25 and alike


def _weights(figures: Diagnostics) -> list[str]:
    reasons = []
    if not even(figures) and figures.k_hat > MOST_K:
        few = math.isinf(figures.k_hat)
        why = (
            "too few distinct weights to fit their tail"
            if few
            else "the weights have too heavy a tail to average"
        )
        reasons.append(f"k-hat is {figures.k_hat:.2f}, above {MOST_K}: {why}")
    if figures.ess < LEAST_ESS:
        reasons.append(
            f"the effective sample size is {figures.ess:.2%} of the draws, below {LEAST_ESS:.0%}"
        )
    undeclared = figures.minus_inf_share - figures.declared_share
    if MOST_OUTSIDE < undeclared < 1:
        reasons.append(f"{undeclared:.1%} of the draws lie outside the support of the target")
    return reasons


def _mean(x: Tensor) -> tuple[float, float]:
    """The mean and its standard error, NaN from one entry."""
    return float(x.mean()), float(x.std() / math.sqrt(len(x))) if len(x) > 1 else math.nan


def _share(mask: Tensor) -> float:
    return float(mask.double().mean())


def _largest(x: Tensor) -> float:
    return float((x.max() - x.logsumexp(0)).exp())
