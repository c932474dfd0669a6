"""What a posterior is over: named parameters, and the way to them from one unconstrained vector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from numbers import Integral
from typing import Any

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from ...core.errors import ConfigError, DataError, ShapeError
from ...core.shapes import Shape, as_shape
from ...core.tensors import as_tensor
from ...supports import Bijection, Circular, Elementwise, Kind, SupportLike, as_rows, bijection

__all__ = ["Parameter", "Space", "Value"]

Value = Tensor | dict[str, Tensor]
"""Rows of what a posterior is over: a tensor (B, *event), or one (B, *shape) for each name."""


@dataclass(frozen=True)
class Parameter:
    """The shape of a parameter and the values that it may take: a constraint of PyTorch or its
    written form.

    `real`, `positive`, `greater_than:LOW`, `less_than:HIGH`, `interval:LOW:HIGH`,
    `circular:LOW:HIGH` (the ends are joined, values lie in [LOW, HIGH)), `simplex`, `ordered`,
    `corr_cholesky`, `lower_cholesky`, `positive_definite`; or a list with one of the first six for
    each entry, in row-major order. Axes before those that belong together count independent values:
    shape (5, 3) with `simplex` is five simplexes. Closed ends count as open.

    >>> Parameter((3, 3), "corr_cholesky")
    Parameter(shape=(3, 3), support='corr_cholesky')
    """

    shape: int | Sequence[int] = ()
    support: SupportLike = "real"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", as_shape(self.shape))


class Space:
    """x = T(u), log|det ∂x/∂u|: unconstrained coordinates u (B, D) <-> values x in their supports.
    Built by `Space.of`.

    Log-dets are those of densities with respect to the entries of x that are free, as in Stan: all
    but the last entry of a simplex, the lower triangle of a Cholesky factor or covariance, what is
    below the diagonal for `corr_cholesky`. Distributions of PyTorch have such densities, so log
    p(u) = log p(x) + log|det ∂x/∂u|. Dirichlet, Wishart and LKJCholesky included.

    >>> import torch
    >>> from diffeo.inference import Space
    >>> space = Space.of({"mu": (), "sd": "positive", "w": (3, "simplex")})
    >>> space.size, space.names
    (4, ('mu', 'sd', 'w[0]', 'w[1]', 'w[2]'))
    >>> value, log_det = space.constrain(torch.zeros(1, 4))
    >>> value["sd"], value["w"]
    (tensor([1.]), tensor([[0.3333, 0.3333, 0.3333]]))
    """

    def __init__(self, parameters: Mapping[str, Parameter], structured: bool) -> None:
        self.parameters, self.structured = dict(parameters), structured
        self._bijections = {
            name: bijection(name, as_shape(p.shape), p.support) for name, p in parameters.items()
        }
        self._sizes = [prod(b.latent) for b in self._bijections.values()]
        self.size: int = sum(self._sizes)
        """D, the number of unconstrained coordinates."""
        self._kept = {name: b.kept() for name, b in self._bijections.items()}
        entries = [
            (name, tuple(index))
            for name, kept in self._kept.items()
            for index in kept.nonzero().tolist()
        ]
        self.names: tuple[str, ...] = tuple(_entry(name, index) for name, index in entries)
        """The columns of `flatten`: entries count from 0, as in `theta[1]` and `L[2,1]`; constants
        are left out.
        """
        self.circles = {
            column: circle
            for name, b in self._bijections.items()
            for column, circle in _circles(name, b)
        }
        """The columns of `flatten` that are circles."""
        if self.size == 0:
            raise ConfigError("there is nothing to infer: the space has no free coordinate")

    @classmethod
    def of(
        cls,
        event_shape: int | Sequence[int] | Mapping[str, Any],
        support: SupportLike | None = None,
    ) -> Space:
        """A space of events of one shape, or of named parameters.

        Args:
            event_shape: an int, a shape, or a mapping of names to a shape, a support (of a scalar),
                a pair (shape, support) or a `Parameter`.
            support: without names: one for all, or a list with one for each entry.

        Raises `ConfigError` naming the parameter when a shape or support is not known or they do
        not fit.
        """
        if not isinstance(event_shape, Mapping):
            return cls(
                {"x": _parameter("x", (event_shape, "real" if support is None else support))},
                structured=False,
            )
        if support is not None:
            raise ConfigError(
                "give the support of a named parameter beside its shape: {'sd': ((), 'positive')}"
            )
        return cls(
            {_name(name): _parameter(name, entry) for name, entry in event_shape.items()},
            structured=True,
        )

    @property
    def event_shape(self) -> Shape | None:
        """The shape of an event, None where parameters have names."""
        return None if self.structured else self._bijections["x"].shape

    def constrain(self, u: Tensor) -> tuple[Value, Tensor]:
        """u (B, D) -> values and log|det ∂x/∂u| (B,). Raises `ShapeError` for another shape of
        u.
        """
        check_points(u, self.size)
        parts = zip(self._bijections.items(), u.split(self._sizes, 1), strict=True)
        pairs = {name: b.inverse(part.reshape(len(u), *b.latent)) for (name, b), part in parts}
        log_det = torch.stack([log_det for _, log_det in pairs.values()]).sum(0)
        values = {name: value for name, (value, _) in pairs.items()}
        return values if self.structured else values["x"], log_det

    def unconstrain(self, value: Value) -> Tensor:
        """Values -> u (B, D), where `constrain(u)` gives them back.

        Raises `DataError` naming the parameter and row of a value outside its support or of a
        missing or unknown parameter, `ShapeError` for a wrong shape.
        """
        parts = []
        for name, x in self._named(value).items():
            u, inside = self._bijections[name].coordinates(_floating(x))
            if not inside.all():
                raise DataError(self._outside(name, x, inside))
            parts.append(as_rows(u))
        return torch.cat(parts, 1)

    def contains(self, value: Value) -> Tensor:
        """Which rows lie within all supports: (B,) of truth values. Errors as `unconstrain`, but
        for the support.
        """
        named = self._named(value).items()
        inside = [
            as_rows(self._bijections[name].coordinates(_floating(x))[1]).all(1) for name, x in named
        ]
        return torch.stack(inside).all(0)

    def flatten(self, value: Value) -> Tensor:
        """Values as columns (B, len(names)), for tables; entries that are constant or repeated are
        left out.
        """
        parts = [
            as_rows(x)[:, self._kept[name].flatten().to(x.device)]
            for name, x in self._named(value).items()
        ]
        return torch.cat(parts, 1)

    def cuts(self) -> dict[str, float]:
        """Where circles are cut open, by the names of their columns."""
        return {column: circle.open_at for column, circle in self.circles.items()}

    def cut_at(self, cuts: Mapping[str, float]) -> Space:
        """The same space with circles, by the names of their columns, cut open elsewhere.

        >>> space = Space.of({"phi": "circular:0:360"}).cut_at({"phi": 180.0})
        >>> space.constrain(torch.zeros(1, 1))[0]["phi"]
        tensor([0.])
        """
        parameters = {
            name: Parameter(b.shape, _recut(name, b, cuts)) for name, b in self._bijections.items()
        }
        return Space(parameters, self.structured)

    def describe(self) -> dict[str, Any]:
        """Shapes and supports for JSON: {"parameters": {name: {"shape", "support"}}, "structured":
        bool}.
        """
        parameters = {
            name: {"shape": list(b.shape), "support": b.written}
            for name, b in self._bijections.items()
        }
        return {"structured": self.structured, "parameters": parameters}

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> Space:
        """The space that `describe` described. Raises `ConfigError` for anything else.

        >>> Space.from_description(Space.of(2, "positive").describe()).describe()
        {'structured': False, 'parameters': {'x': {'shape': [2], 'support': 'positive'}}}
        """
        try:
            entries = {
                _name(n): Parameter(p["shape"], p["support"])
                for n, p in description["parameters"].items()
            }
            return cls(entries, bool(description["structured"]))
        except (KeyError, TypeError, AttributeError):
            raise ConfigError(f"not the description of a space: {description!r}") from None

    def __repr__(self) -> str:
        each = {name: (b.shape, b.written) for name, b in self._bijections.items()}
        return f"Space.of({each})" if self.structured else f"Space.of{each['x']}"

    def _named(self, value: Value) -> dict[str, Tensor]:
        """The values by name, in the order of the coordinates, their shapes checked."""
        if isinstance(value, Mapping) != self.structured:
            wants = (
                f"a dict of {', '.join(self.parameters)}"
                if self.structured
                else f"a tensor (B, *{self.event_shape})"
            )
            raise DataError(f"values of this space are {wants}, got {type(value).__name__}")
        given: dict[str, Any] = dict(value) if isinstance(value, Mapping) else {"x": value}
        for name in sorted(self.parameters.keys() ^ given.keys()):
            known = f"the parameters are {', '.join(self.parameters)}"
            raise DataError(
                f"{name!r} is {'missing' if name in self.parameters else 'unknown'}: {known}"
            )
        tensors = {name: as_tensor(given[name], name) for name in self.parameters}
        rows = next(iter(tensors.values())).shape[:1]
        for name, x in tensors.items():
            event = self._bijections[name].shape
            if len(rows) == 0 or x.shape != (*rows, *event):
                raise ShapeError(
                    f"{name} has shape {tuple(x.shape)}, not (B, *{event}) with the same B for all"
                )
        return tensors

    def _outside(self, name: str, x: Tensor, inside: Tensor) -> str:
        row, *index = (~inside).nonzero()[0].tolist()
        support = self._bijections[name].written
        where = _entry(name, tuple(index))
        if isinstance(support, list):
            support = support[int(torch.arange(len(support)).reshape(x.shape[1:])[tuple(index)])]
        return f"{where} in row {row} is {x[(row, *index)].tolist()}, outside its support {support}"


def _columns(name: str, transform: Elementwise) -> Iterator[tuple[str, Kind]]:
    """The names of entries and their supports."""
    entries = (
        transform.entries
        if len(transform.entries) > 1
        else transform.entries * prod(transform.shape)
    )
    places = product(*map(range, transform.shape))
    yield from ((_entry(name, i), entry) for i, entry in zip(places, entries, strict=True))


def _circles(name: str, transform: Bijection) -> Iterator[tuple[str, Circular]]:
    """The same of entries that are circles."""
    if isinstance(transform, Elementwise) and any(
        isinstance(e, Circular) for e in transform.entries
    ):
        for column, entry in _columns(name, transform):
            if isinstance(entry, Circular):
                yield column, entry


def _recut(name: str, transform: Bijection, cuts: Mapping[str, float]) -> str | list[str]:
    """The support with its circles cut open at `cuts`, where these name one."""
    if not isinstance(transform, Elementwise):
        return transform.written
    moved = {
        column: str(replace(circle, cut=cuts.get(column, circle.open_at)))
        for column, circle in _circles(name, transform)
    }
    if not moved:
        return transform.written
    words = [moved.get(column, str(entry)) for column, entry in _columns(name, transform)]
    return words if transform.shape else words[0]


def check_points(u: Tensor, size: int) -> None:
    """Raise `ShapeError` unless u is (B, size)."""
    if u.dim() != 2 or u.shape[1] != size:
        raise ShapeError(f"unconstrained points have shape {tuple(u.shape)}, not (B, {size})")


def _parameter(name: str, entry: Any) -> Parameter:
    """A parameter from its short forms."""
    if isinstance(entry, Parameter):
        return entry
    if isinstance(entry, (str, Constraint)):
        return Parameter((), entry)
    try:
        if isinstance(entry, Sequence) and len(entry) == 2 and not isinstance(entry[1], Integral):
            return Parameter(entry[0], entry[1])
        return Parameter(entry)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{name}: give a shape, a support or a pair (shape, support), got {entry!r}: {error}"
        ) from None


def _name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise ConfigError(f"a parameter's name must be text, got {name!r}")
    return name


def _entry(name: str, index: Shape) -> str:
    return f"{name}[{','.join(map(str, index))}]" if index else name


def _floating(x: Tensor) -> Tensor:
    return x if x.is_floating_point() else x.double()
