"""What values a parameter may take: PyTorch's constraints or their written form, and the bijection
for each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from ..core.errors import ConfigError
from ..core.shapes import Shape
from .base import KINDS, Event, Scalar, check_bounds
from .bijections import Bijection, Elementwise, Joint
from .half_lines import GreaterThan, LessThan
from .interval import Interval
from .positive import Positive
from .real import Real

__all__ = ["SupportLike", "bijection"]

SupportLike = Constraint | str | Sequence[Constraint | str]


def bijection(name: str, shape: Shape, support: SupportLike) -> Bijection:
    """The bijection onto values of a shape and support; a list of supports has one for each entry,
    in row-major order.

    Raises `ConfigError` naming the parameter when the support is unknown, or does not fit the
    shape.

    >>> bounds = constraints.interval(torch.zeros(2), torch.tensor([1.0, 2.0]))
    >>> bijection("x", (2,), bounds).written
    ['interval:0.0:1.0', 'interval:0.0:2.0']
    """
    if isinstance(support, (list, tuple)):
        return _entrywise(name, shape, support)
    if not isinstance(support, (str, Constraint)):
        raise ConfigError(
            f"{name}: {support!r} is no support; give a constraint of PyTorch, such as interval(0,"
            " 1), or its name"
        )
    event = _event(support)
    if event is not None:
        _check_event(name, event, shape)
        return Joint(shape, event)
    return Elementwise(shape, _scalars(name, support, shape))


def _entrywise(name: str, shape: Shape, supports: Sequence[Constraint | str]) -> Bijection:
    if len(supports) != math.prod(shape):
        raise ConfigError(
            f"{name}: {len(supports)} supports for {math.prod(shape)} entries; give one, or one for"
            " each entry"
        )
    entries = [
        entry
        for i, support in enumerate(supports)
        for entry in _scalars(f"{name}, entry {i}", support, ())
    ]
    return Elementwise(shape, entries or [Real()])


def _event(support: Constraint | str) -> Event | None:
    """The kind of vectors or matrices that is meant, if one is."""
    for word, kind in KINDS.items():
        if issubclass(kind, Event) and (support == word or kind.named(_base(support))):
            return kind()
    return None


def _scalars(name: str, support: Constraint | str, shape: Shape) -> list[Scalar]:
    """The support of all entries, or those of each. Closed ends count as open: a point has no
    probability.
    """
    if isinstance(support, str):
        return [_parse(name, support)]
    low, high = (_fit(name, bound, shape) for bound in _bounds(name, support))
    same = low.dim() == high.dim() == 0
    lows = [low.item()] if same else low.expand(shape).flatten().tolist()
    highs = [high.item()] if same else high.expand(shape).flatten().tolist()
    try:
        return [_between(*sides) for sides in zip(lows, highs, strict=True)]
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}, got {support}") from None


def _between(low: float, high: float) -> Scalar:
    check_bounds(low, high)
    if low == -math.inf:
        return Real() if high == math.inf else LessThan(high)
    if high == math.inf:
        return Positive() if low == 0 else GreaterThan(low)
    return Interval(low, high)


def _bounds(name: str, support: Constraint) -> tuple[float | Tensor, float | Tensor]:
    base = _base(support)
    if isinstance(base, type(constraints.real)):
        return -math.inf, math.inf
    if isinstance(base, (constraints.greater_than, constraints.greater_than_eq)):
        return base.lower_bound, math.inf
    if isinstance(base, constraints.less_than):
        return -math.inf, base.upper_bound
    if isinstance(base, (constraints.interval, constraints.half_open_interval)):
        return base.lower_bound, base.upper_bound
    raise ConfigError(
        f"{name}: no way to the support {support!r}; a parameter must be continuous and one of"
        f" {_grammar()}"
    )


def _parse(name: str, text: str) -> Scalar:
    word, _, rest = text.partition(":")
    kind = KINDS.get(word)
    if kind is not None and issubclass(kind, Scalar):
        try:
            scalar = kind.read_parameter(rest)
            assert isinstance(scalar, Scalar)
            return scalar
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}, got {text}") from None
        except ValueError:
            pass  # the grammar below says more
    joint = kind is not None and issubclass(kind, Event)
    also = " (for a whole parameter, not for one of its entries)" if joint else ""
    raise ConfigError(f"{name}: cannot read the support {text!r}{also}; write {_grammar()}")


def _grammar() -> str:
    return ", ".join(kind.form for kind in KINDS.values() if issubclass(kind, (Scalar, Event)))


def _base(support: Constraint | str) -> Constraint | str:
    """Without `independent`, which says only how many axes belong to the event."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def _fit(name: str, bound: float | Tensor, shape: Shape) -> Tensor:
    tensor = torch.as_tensor(bound, dtype=torch.float64).detach().cpu()
    try:
        tensor.expand(shape)
    except RuntimeError:
        raise ConfigError(
            f"{name}: bounds of shape {tuple(tensor.shape)} do not fit the shape {shape}"
        ) from None
    return tensor


def _check_event(name: str, event: Event, shape: Shape) -> None:
    square = event.axes == 1 or shape[-1:] == shape[-2:-1]
    if len(shape) < event.axes or shape[-1] == 0 or not square:
        wants = "(..., K)" if event.axes == 1 else "(..., K, K)"
        raise ConfigError(f"{name}: {event} is for a shape {wants} with K > 0, got {shape}")
