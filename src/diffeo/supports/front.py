"""What stands at the front of a model of columns: from their supports to the reals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..core.transform import Transform
from ..layers import Columns
from .base import Support

__all__ = ["front"]


def front(supports: Sequence[Support], bound: float) -> Iterator[Transform]:
    """The layers between columns of these supports and the reals; periodic ones come to [−bound,
    bound).

    Noise comes first. Kinds without numbers have one layer for all their columns, others one for
    each.

    >>> supports = [Support.parse(text) for text in ("positive", "real", "positive")]
    >>> [layer.indices for layer in front(supports, 5.0)]
    [(0, 2)]
    """
    shared = dict.fromkeys(support for support in supports if not support.arguments())
    for support in sorted(shared, key=lambda support: not support.whole):
        yield from _columns(
            [i for i, each in enumerate(supports) if each == support], support, bound
        )
    for i, support in enumerate(supports):
        if support not in shared:
            yield from _columns([i], support, bound)


def _columns(indices: list[int], support: Support, bound: float) -> Iterator[Transform]:
    layer = support.layer(bound)
    if layer is not None:
        yield Columns(indices, layer)
