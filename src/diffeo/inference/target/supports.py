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

from ...core.errors import ConfigError
from ...core.shapes import Shape
from .bijections import Bijection, Bounded, Ordered, Simplex
from .circles import Circular
from .matrices import CorrCholesky, LowerCholesky, PositiveDefinite

__all__ = ["SupportLike", "bijection", "ordered", "written"]

SupportLike = Constraint | str | Sequence[Constraint | str]


class _Ordered(Constraint):
    """Vectors whose entries increase; ties, which rounding makes, count as inside."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (value.diff(dim=-1) >= 0).all(-1)


ordered = _Ordered()
"""The constraint of increasing vectors, which PyTorch lacks."""

# written form -> constraint, how many axes of a value belong together, bijection
_JOINT: dict[str, tuple[Constraint, int, type[Bijection]]] = {
    "simplex": (constraints.simplex, 1, Simplex),
    "ordered": (ordered, 1, Ordered),
    "corr_cholesky": (constraints.corr_cholesky, 2, CorrCholesky),
    "lower_cholesky": (constraints.lower_cholesky, 2, LowerCholesky),
    "positive_definite": (constraints.positive_definite, 2, PositiveDefinite),
}
# how many numbers a word takes; the third of a circle is where it is cut open
_BOUNDS = {
    "real": (0,),
    "positive": (0,),
    "greater_than": (1,),
    "less_than": (1,),
    "interval": (2,),
    "circular": (2, 3),
}
_GRAMMAR = (
    "real, positive, greater_than:LOW, less_than:HIGH, interval:LOW:HIGH, circular:LOW:HIGH, "
    + ", ".join(_JOINT)
)


def bijection(name: str, shape: Shape, support: SupportLike) -> Bijection:
    """The bijection onto values of a shape and support; a list of supports has one for each entry,
    in row-major order.

    Raises `ConfigError` naming the parameter when the support is unknown, or does not fit the
    shape.
    """
    if isinstance(support, (list, tuple)):
        return _entrywise(name, shape, support)
    if not isinstance(support, (str, Constraint)):
        raise ConfigError(
            f"{name}: {support!r} is no support; give a constraint of PyTorch, such as interval(0,"
            " 1), or its name"
        )
    for word, (constraint, axes, build) in _JOINT.items():
        if support == word or isinstance(_base(support), type(constraint)):
            _check_joint(name, word, axes, shape)
            return build(shape)  # type: ignore[call-arg]
    low, high = _bounds(name, support)
    cut = torch.full(shape, _cut(support), dtype=torch.float64)
    return _bounded(name, support, _fit(name, low, shape), _fit(name, high, shape), cut)


def written(bijection: Bijection) -> str | list[str]:
    """The support that a bijection is for, in words that `bijection` reads: one, or one for each
    entry.

    >>> written(
    ...     bijection("x", (2,), constraints.interval(torch.zeros(2), torch.tensor([1.0, 2.0]))))
    ['interval:0.0:1.0', 'interval:0.0:2.0']
    """
    if not isinstance(bijection, (Bounded, Circular)):
        return next(word for word, (_, _, build) in _JOINT.items() if type(bijection) is build)
    cuts = (
        bijection.cut if isinstance(bijection, Circular) else torch.full(bijection.shape, math.nan)
    )
    sides = zip(
        *(side.flatten().tolist() for side in (bijection.low, bijection.high, cuts)), strict=True
    )
    words = [_word(low, high, cut) for low, high, cut in sides]
    return words[0] if len(set(words)) == 1 else words


def _word(low: float, high: float, cut: float) -> str:
    if not math.isnan(cut):
        return f"circular:{low}:{high}" if cut == low else f"circular:{low}:{high}:{cut}"
    if low == -math.inf:
        return "real" if high == math.inf else f"less_than:{high}"
    if high == math.inf:
        return "positive" if low == 0 else f"greater_than:{low}"
    return f"interval:{low}:{high}"


def _entrywise(name: str, shape: Shape, supports: Sequence[Constraint | str]) -> Bijection:
    if len(supports) != math.prod(shape):
        raise ConfigError(
            f"{name}: {len(supports)} supports for {math.prod(shape)} entries; give one, or one for"
            " each entry"
        )
    bounds = [_bounds(f"{name}, entry {i}", support) for i, support in enumerate(supports)]
    low, high = (
        torch.stack([_fit(name, side, ()) for side in sides]) for sides in zip(*bounds, strict=True)
    )
    cut = torch.tensor([_cut(support) for support in supports], dtype=torch.float64)
    return _bounded(name, supports, low.reshape(shape), high.reshape(shape), cut.reshape(shape))


def _bounded(name: str, support: SupportLike, low: Tensor, high: Tensor, cut: Tensor) -> Bijection:
    """`cut` is where circles are cut open, NaN for entries that are none."""
    circular = ~cut.isnan()
    try:
        bounded = Bounded(low, high)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}, got {support}") from None
    if not circular.any():
        return bounded
    if (
        not ((low > -math.inf) & (high < math.inf))[circular].all()
        or not ((low <= cut) & (cut < high))[circular].all()
    ):
        raise ConfigError(f"{name}: a circle has finite ends and is cut within them, got {support}")
    return Circular(low, high, circular, cut)


def _cut(support: Constraint | str) -> float:
    """Where a circle is cut open, its lower end unless the text says otherwise; NaN for what is no
    circle.
    """
    if not isinstance(support, str) or not support.startswith("circular:"):
        return math.nan
    _, *numbers = support.split(":")
    return float(numbers[2] if len(numbers) == 3 else numbers[0])


def _bounds(name: str, support: Constraint | str) -> tuple[float | Tensor, float | Tensor]:
    """The bounds of a support by entries. Closed ends count as open: a point has no probability."""
    if isinstance(support, str):
        return _parse(name, support)
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
        f" {_GRAMMAR}"
    )


def _parse(name: str, text: str) -> tuple[float, float]:
    kind, *numbers = text.split(":")
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        values = [math.nan]
    if len(values) not in _BOUNDS.get(kind, ()) or any(math.isnan(v) for v in values):
        also = " (for a whole parameter, not for one of its entries)" if text in _JOINT else ""
        raise ConfigError(f"{name}: cannot read the support {text!r}{also}; write {_GRAMMAR}")
    if kind in ("interval", "circular"):
        return values[0], values[1]
    if kind == "less_than":
        return -math.inf, values[0]
    return (-math.inf if kind == "real" else values[0] if values else 0.0), math.inf


def _base(support: Constraint | str) -> Constraint | str:
    """Without `independent`, which says only how many axes belong to the event."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def _fit(name: str, bound: float | Tensor, shape: Shape) -> Tensor:
    tensor = torch.as_tensor(bound, dtype=torch.float64).detach().cpu()
    try:
        return tensor.expand(shape)
    except RuntimeError:
        raise ConfigError(
            f"{name}: bounds of shape {tuple(tensor.shape)} do not fit the shape {shape}"
        ) from None


def _check_joint(name: str, word: str, axes: int, shape: Shape) -> None:
    if len(shape) < axes or shape[-1] == 0 or (axes == 2 and shape[-1] != shape[-2]):
        wants = "(..., K)" if axes == 1 else "(..., K, K)"
        raise ConfigError(f"{name}: {word} is for a shape {wants} with K > 0, got {shape}")
