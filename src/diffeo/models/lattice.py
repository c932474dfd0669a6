"""Flows over fields on a periodic lattice: checkerboard couplings, with the symmetries of the
action built in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..bases import Normal
from ..conditioners import TorusNet
from ..core.errors import ContextError
from ..core.settings import number, one_of, whole, wholes
from ..core.shapes import as_shape
from ..core.transform import Transform
from ..flow import Flow
from ..layers import Coupling, PeriodicConv
from ..layers.memory.recompute import Memory, chained
from ..maps import Affine, ElementwiseMap, Odd, RQSpline
from ..partitions import Checkerboard
from .recipe import model

__all__ = ["lattice"]


@model
def lattice(
    event_shape: int | Sequence[int],
    context_shape: int | Sequence[int] | None = None,
    *,
    layers: int = 16,
    hidden: Sequence[int] = (8, 8),
    kernel: int = 3,
    map: Literal["affine", "spline"] = "affine",
    symmetric: bool = False,
    spectrum: bool = False,
    activation: str = "leaky_relu",
    log_scale: float = 2.0,
    bins: int = 8,
    bound: float = 4.0,
    memory: Memory = "store",
    seed: int = 0,
) -> Flow:
    """RealNVP of a field φ (C, H, W) on a torus (Albergo et al. 2021, arXiv:2101.08176): couplings
    between the colours of a checkerboard, convolutions with periodic boundaries, base N(0, 1).

    With the default settings it is that of the paper. `symmetric` makes log q(−φ) = log q(φ)
    exactly (Z2 symmetry: odd maps, shifts odd and scales even in the conditioning sites).
    `spectrum` puts a `PeriodicConv` before the base, so that the flow starts from a free field with
    a learned two-point function. `map="spline"` adds, every other pair of couplings,
    rational-quadratic splines on [−bound, bound], mirrored where `symmetric`. Raises `ShapeError`
    unless H and W are even, `ContextError` for a context.

    `memory="invert"` trains in memory that does not grow with the depth (`layers.Recompute`).

    >>> import diffeo
    >>> flow = diffeo.models.lattice((1, 8, 8), layers=4, symmetric=True)
    >>> flow.sample((3,)).shape
    torch.Size([3, 1, 8, 8])
    """
    if context_shape is not None:
        raise ContextError("the lattice model takes no context")
    one_of("map", map, ["affine", "spline"])
    whole("layers", layers)
    whole("bins", bins, least=2)
    number("bound", bound, above=0)
    wholes("hidden", hidden)
    shape = as_shape(event_shape)
    body: list[Transform] = []
    for layer in range(layers):
        splined = map == "spline" and layer % 4 >= 2
        chosen, odd = _map(splined, symmetric, log_scale, bins=bins, bound=bound)
        partition = Checkerboard(shape, flip=bool(layer % 2))
        network = TorusNet(partition, hidden, kernel, odd if symmetric else None, activation)
        body.append(Coupling(shape, chosen, network, partition))
    return Flow(chained([*body, PeriodicConv(shape)] if spectrum else body, memory), Normal(shape))


def _map(
    splined: bool, symmetric: bool, log_scale: float, *, bins: int, bound: float
) -> tuple[ElementwiseMap, tuple[int, ...]]:
    """A map, and which of its parameters are odd under a change of sign."""
    if not splined:
        return Affine(log_scale), (1,)
    return (
        Odd(RQSpline(bins, 0.0, bound, ends="free")) if symmetric else RQSpline(bins, -bound, bound)
    ), ()
