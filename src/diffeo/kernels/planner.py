"""Which links of a chain go together in one call, and which can be undone and differentiated at
once.

The contract of transforms knows nothing of this, and this room nothing of layers: a class of layers
is described here by functions that are registered for it. `core.links` asks `run` of its links.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import Tensor

from ..core import links
from ..core.tracing import traced
from ..core.transform import Transform
from . import coupling
from .coupling import CouplingLayer, is_bare

__all__ = ["Retraced", "alone", "describes", "retrace", "retraces", "run", "together"]

Pair = tuple[Tensor, Tensor]
# x, the gradient by x, and those by what else was asked for
Retraced = tuple[Tensor, Tensor, tuple[Tensor | None, ...]]
Describe = Callable[[Any, bool], CouplingLayer | None]
Retrace = Callable[[Any, Tensor, Tensor | None, Pair, Sequence[Tensor]], Retraced]
F = TypeVar("F", bound=Callable[..., Any])

_descriptions: dict[type[Transform], Describe] = {}
_retraces: dict[type[Transform], Retrace] = {}


def describes(layer: type[Transform]) -> Callable[[F], F]:
    """Register a function (layer, inverse) -> the coupling layer that such a layer, or its inverse,
    is to the operator; None where it is none.
    """

    def register(describe: F) -> F:
        _descriptions[layer] = describe
        return describe

    return register


def retraces(layer: type[Transform]) -> Callable[[F], F]:
    """Register a function that does what `retrace` does where no operator serves."""

    def register(function: F) -> F:
        _retraces[layer] = function
        return function

    return register


def together(
    links: Sequence[Transform], x: Tensor, context: Tensor | None, *, inverse: bool
) -> list[CouplingLayer]:
    """The first of the links, as many as go in one call; none if the first goes by itself."""
    if traced():  # formulas are differentiated by themselves
        return []
    first = _described(links[0], inverse)
    if first is None or not coupling.takes(first, x, context):
        return []
    layers = [first]
    for link in links[1:]:
        layer = _described(link, inverse)
        if layer is None or not layer.joins(first) or not coupling.takes(layer, x, context):
            break
        layers.append(layer)
    return layers


def run(
    links: Sequence[Transform], x: Tensor, context: Tensor | None, inverse: bool
) -> tuple[Tensor, Tensor, int] | None:
    """x through the first of the links, or their inverses, in one call: the pair, and how many they
    were; None if the first goes by itself.
    """
    layers = together(links, x, context, inverse=inverse)
    return (*coupling.couple(layers, x, context), len(layers)) if layers else None


def alone(link: Transform, x: Tensor, context: Tensor | None, *, inverse: bool) -> Pair | None:
    """The same for one link; None if there is no such call."""
    layers = together([link], x, context, inverse=inverse)
    return coupling.couple(layers, x, context) if layers else None


def retrace(
    link: Transform,
    y: Tensor,
    context: Tensor | None,
    grads: Pair,
    others: Sequence[Tensor],
) -> Retraced | None:
    """x = f⁻¹(y) and, from `grads` by the pair that `forward` makes of x, those by x and by
    `others` (weights, context), where both together cost less than one after the other; None where
    there is no such way.
    """
    back, ahead = _described(link, True), _described(link, False)
    if back is not None and ahead is not None and coupling.takes(back, y, context):
        return coupling.retrace(back, ahead.kernel, y, context, grads, others)
    by_parts = _retraces.get(type(link))
    return None if by_parts is None else by_parts(link, y, context, grads, others)


def _described(link: Transform, inverse: bool) -> CouplingLayer | None:
    describe = _descriptions.get(type(link))
    return describe(link, inverse) if describe is not None and is_bare(link) else None


links.plan_with(run)
