"""Neural Spline Flow: spline couplings, rational-quadratic ones unless another kind is asked
for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from ..core.settings import one_of
from ..flow import Flow
from ..layers.memory.recompute import Memory
from ..maps import (
    Affine,
    CircularSpline,
    Composed,
    CubicSpline,
    ElementwiseMap,
    LinearSpline,
    QuadraticSpline,
    RQSpline,
)
from .recipe import model
from .vectors import BaseName, Mixing, Split, VectorModel

__all__ = ["SPLINES", "SplineName", "named_spline", "nsf"]

LOG_SCALE = 2.0  # of the affine map before a spline: a funnel spans several e-folds
SplineName = Literal["rational_quadratic", "linear", "quadratic", "cubic"]
SPLINES: dict[str, Callable[[int, float, float], ElementwiseMap]] = {
    "rational_quadratic": RQSpline,
    "linear": LinearSpline,
    "quadratic": QuadraticSpline,
    "cubic": CubicSpline,
}


def named_spline(name: SplineName, bins: int, bound: float) -> ElementwiseMap:
    """The spline of that name on [−bound, bound]; raises `ConfigError` for an unknown one."""
    return SPLINES[one_of("spline", name, SPLINES)](bins, -bound, bound)


@model
def nsf(
    event_shape: int | Sequence[int],
    context_shape: int | Sequence[int] | None = None,
    *,
    layers: int = 8,
    hidden: Sequence[int] = (128, 128),
    bins: int = 8,
    spline: SplineName = "rational_quadratic",
    bound: float = 5.0,
    affine: bool = False,
    activation: str = "relu",
    dropout: float = 0.0,
    residual: bool = False,
    split: Split = "halves",
    mixing: Mixing = "none",
    base: BaseName = "normal",
    supports: Sequence[str] | None = None,
    memory: Memory = "store",
    regress: float | None = None,
    seed: int = 0,
) -> Flow:
    """Neural Spline Flow (Durkan et al. 2019, arXiv:1906.04032): y_B = a monotone spline of x_B
    with knots from x_A.

    The splines have `bins` bins on [−bound, bound] (after standardisation) and identity tails;
    besides the paper's rational quadratics, `spline` can be "linear" or "quadratic" (Müller et al.
    2019, arXiv:1808.03856) or "cubic" (Durkan et al. 2019, arXiv:1906.02145). `affine` scales and
    shifts before every spline, so that what lies beyond the box depends on x_A too: a banana's
    ends. `mixing="lu"` puts an LU linear map before every coupling but the first, as the paper
    does. `supports` names the kind of each column (`real`, `positive`, `interval:0:1`,
    `circular:0:360`, `integer`); with it, samples are float64 in the data's own units. Circular
    columns have rational-quadratic splines of the circle (Rezende et al. 2020, arXiv:2002.02428)
    and a uniform base. Raises `ShapeError` unless `event_shape` is (D,).

    `memory="invert"` trains in memory that does not grow with the depth (`layers.Recompute`).
    `regress=0.01` takes out of columns, before all couplings, what others or the context determine,
    where at most that share of the variance is left (`layers.Regress`); 0 leaves all as they are,
    and `fit` chooses where none is given.

    >>> import torch, diffeo
    >>> flow = diffeo.models.nsf(event_shape=(3,), supports=["real", "positive", "circular:0:360"])
    >>> bool(((flow.sample((5,))[:, 2] >= 0) & (flow.sample((5,))[:, 2] < 360)).all())
    True
    """
    frame = VectorModel(
        event_shape=event_shape,
        context_shape=context_shape,
        supports=supports,
        hidden=hidden,
        activation=activation,
        dropout=dropout,
        residual=residual,
        split=split,
        mixing=mixing,
        base=base,
        bound=bound,
        seed=seed,
        memory=memory,
        regress=regress,
    )
    map = named_spline(spline, bins, bound)
    if affine:
        map = Composed((Affine(LOG_SCALE), map))
    return frame.build(layers, map, CircularSpline(bins, -bound, bound))
