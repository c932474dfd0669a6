"""Neural Spline Flow: rational-quadratic couplings."""

from __future__ import annotations

from collections.abc import Sequence

from ..flow import Flow
from ..maps import CircularSpline, RQSpline
from .recipe import model
from .vectors import BaseName, Mixing, Split, VectorModel

__all__ = ["nsf"]


@model
def nsf(
    event_shape: int | Sequence[int],
    context_shape: int | Sequence[int] | None = None,
    *,
    layers: int = 8,
    hidden: Sequence[int] = (128, 128),
    bins: int = 8,
    bound: float = 5.0,
    activation: str = "relu",
    dropout: float = 0.0,
    residual: bool = False,
    split: Split = "halves",
    mixing: Mixing = "none",
    base: BaseName = "normal",
    supports: Sequence[str] | None = None,
    seed: int = 0,
) -> Flow:
    """Neural Spline Flow (Durkan et al. 2019, arXiv:1906.04032): y_B = a monotone spline of x_B with knots from x_A.

    The splines have `bins` bins on [−bound, bound] (after standardisation) and identity tails. `mixing="lu"` puts an LU
    linear map before every coupling but the first, as the paper does. `supports` names the kind of each column (`real`,
    `positive`, `interval:0:1`, `circular:0:360`, `integer`); with it, samples are float64 in the data's own units.
    Circular columns have splines of the circle (Rezende et al. 2020, arXiv:2002.02428) and a uniform base. Raises
    `ShapeError` unless `event_shape` is (D,).

    >>> import torch, diffeo
    >>> flow = diffeo.models.nsf(event_shape=(3,), supports=["real", "positive", "circular:0:360"])
    >>> bool(((flow.sample((5,))[:, 2] >= 0) & (flow.sample((5,))[:, 2] < 360)).all())
    True
    """
    frame = VectorModel(
        event_shape, context_shape, supports, hidden, activation, dropout, residual, split, mixing, base, bound, seed
    )
    return frame.build(layers, RQSpline(bins, -bound, bound), CircularSpline(bins, -bound, bound))
