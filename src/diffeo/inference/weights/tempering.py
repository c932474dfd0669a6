"""How far a temperature may rise before the weights of the points become uneven."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .diagnostics import ess

__all__ = ["largest_rise"]


def largest_rise(
    log_ratio: Tensor,
    most: float,
    *,
    share: float,
    midpoint: Callable[[float, float], float],
    rounds: int,
    tolerance: float = 0.0,
) -> tuple[float, float]:
    """A bracket (low, high) of the largest δ ≤ `most` for which weights exp(δ · log_ratio) of every
    population, a row of log_ratio (R, N), have an effective sample size of at least `share`.

    Bisection of at most `rounds` steps at midpoint(low, high), until high < (1 + `tolerance`) low.
    At `low` the weights are even enough, at `high` they are not, unless both are `most`.

    >>> import torch
    >>> ratio = torch.tensor([[0.0, 1.0]])
    >>> half = lambda low, high: 0.5 * (low + high)
    >>> low, high = largest_rise(ratio, 10.0, share=0.9, midpoint=half, rounds=20)
    >>> round(low, 3), low < high
    (0.693, True)
    """

    def even(rise: float) -> bool:
        return all(ess(rise * row) >= share for row in log_ratio)

    if even(most):
        return most, most
    low = 0.0
    high = most
    for _ in range(rounds):
        middle = midpoint(low, high)
        if even(middle):
            low = middle
        else:
            high = middle
        if low > 0 and high < (1 + tolerance) * low:
            break
    return low, high
