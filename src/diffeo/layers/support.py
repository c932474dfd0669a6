"""What values a chain takes, as far as the links nearest the data say."""

from __future__ import annotations

from collections.abc import Sequence

from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from ..core.constraints import Each
from ..core.links import Links
from ..core.shapes import Shape
from ..core.transform import Transform
from .geometry.columns import Columns

__all__ = ["support"]


def support(transform: Transform, event_shape: Shape, bounded: frozenset[int]) -> Constraint | None:
    """The constraint on events of this shape, or None where it follows from more than the links
    nearest the data.

    `bounded` are the entries of which the base distribution does not take every real number: those
    of circles may be so.
    """
    links = list(transform) if isinstance(transform, Links) else [transform]
    first = links[0].support if links else None
    front, entries = (1, {}) if first is not None else _columns(links)
    if any(part.support is not None for link in links[front:] for part in _parts(link)):
        return None
    if first is not None:
        if bounded and not _is_circle(first):
            return None
        return constraints.independent(first, len(event_shape))
    if not bounded <= {i for i, entry in entries.items() if _is_circle(entry)}:
        return None
    if not entries:
        return constraints.independent(constraints.real, len(event_shape))
    each = [entries.get(i, constraints.real) for i in range(event_shape[0])]
    same = all(entry is each[0] for entry in each)
    return constraints.independent(each[0], 1) if same else Each(each)


def _columns(links: Sequence[Transform]) -> tuple[int, dict[int, Constraint]]:
    """How many links at the front say what some of the columns may be, each of other columns, and
    what.
    """
    entries: dict[int, Constraint] = {}
    for count, link in enumerate(links):
        more = link.support_of_columns() if isinstance(link, Columns) else None
        if more is None or entries.keys() & more.keys():
            return count, entries
        entries |= more
    return len(links), entries


def _parts(link: Transform) -> list[Transform]:
    return [part for part in link.modules() if isinstance(part, Transform)]


def _is_circle(entry: Constraint) -> bool:
    return isinstance(entry, constraints.half_open_interval)
