"""What a kind of value is: how it is written and read, and what tables and posteriors ask of it."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import ConfigError
from ..core.shapes import Shape
from ..core.transform import Transform

__all__ = ["KINDS", "Event", "Floats", "Kind", "Numbers", "Scalar", "Support"]

Floats = NDArray[np.float64]
Numbers = tuple[Tensor, ...]
"""The numbers in the written form of a kind: scalars, or one tensor (*shape) each where entries
differ; float64.
"""


class Kind(ABC):
    """A set of values that has a written form: a word, and what follows it behind colons.

    To write one: a frozen dataclass with a field for each number of the form, derived from
    `Support` for columns of tables, from `Scalar` for entries of posteriors, from both, or from
    `Event` for vectors and matrices; and a line in `KINDS` (`supports/__init__.py`). A kind that
    is written with other things than numbers overrides `read` and `arguments`.
    """

    form: ClassVar[str]
    """How it is written: `interval:LOW:HIGH`."""
    example: ClassVar[str]
    """The same with numbers: `interval:0:1`."""

    @classmethod
    def word(cls) -> str:
        """What the written form begins with."""
        return cls.form.partition(":")[0]

    @classmethod
    def read(cls, text: str) -> Kind:
        """The kind from what follows its word and a colon.

        Raises `ValueError` when it does not fit the form, `ConfigError` for numbers out of range.
        """
        numbers = read_numbers(text)
        if len(numbers) != cls.form.count(":"):
            raise ValueError(f"{text!r} does not fit {cls.form}")
        return cls(*numbers)

    def arguments(self) -> tuple[str, ...]:
        """What follows the word, as `read` takes it when joined by colons."""
        return tuple(str(number) for number in dataclasses.astuple(self))  # type: ignore[call-overload]

    def __str__(self) -> str:
        return ":".join((self.word(), *self.arguments()))


KINDS: dict[str, type[Kind]] = {}
"""Every kind by its word. `supports/__init__.py` fills it."""


class Support(Kind):
    """What values a column of a table may take.

    To write one: `outside`, `words` and `layer`. The flags say the rest.
    """

    whole: ClassVar[bool] = False
    """Values are whole numbers: they have probabilities, which a dequantised density bounds."""
    logarithmic: ClassVar[bool] = False
    """Ratios count: a wide range is drawn on a logarithmic axis."""

    @property
    def period(self) -> float | None:
        """The period of values around a circle, None for others."""
        return None

    @property
    @abstractmethod
    def words(self) -> str:
        """What each value is, to end the sentence "1.5 is not ..."."""

    @abstractmethod
    def outside(self, values: Floats) -> NDArray[np.bool_]:
        """True where a finite value is not in the support."""

    @abstractmethod
    def layer(self, bound: float) -> Transform | None:
        """The layer between such columns and the reals, or None where they are the reals.

        Periodic ones come to the circle [−bound, bound).
        """

    def canonical(self, values: Floats) -> Floats:
        """The values, each written in the one way in which models return it."""
        return values

    @staticmethod
    def parse(text: str) -> Support:
        """Read the written form of a kind of column. Raises `ConfigError` with the grammar when it
        cannot.

        >>> Support.parse("circular:0:360").period
        360.0
        >>> str(Support.parse("interval:-1:1"))
        'interval:-1.0:1.0'
        """
        known = {word: kind for word, kind in KINDS.items() if issubclass(kind, Support)}
        word, _, rest = text.partition(":")
        if word not in known:
            raise ConfigError(f"unknown kind of column {word!r}: use one of {', '.join(known)}")
        if rest and ":" not in known[word].form:
            raise ConfigError(f"a column of kind {word!r} takes no bounds")
        if not rest and ":" in known[word].form:
            raise ConfigError(f"a column of kind {word!r} needs bounds: write {known[word].form}")
        try:
            support = known[word].read(rest)
        except ConfigError:
            raise
        except ValueError:
            *examples, last = [kind.example for kind in known.values()]
            raise ConfigError(
                f"cannot read {text!r}: write {', '.join(examples)} or {last}"
            ) from None
        assert isinstance(support, Support)
        return support


class Scalar(Kind):
    """What values a scalar may take, and the one-to-one map between free coordinates u and them.

    Formulas are elementwise, without a loop over entries: `numbers` are those of the written
    form, in float64. Values never lie on the edge of an open support, and value, slope and their
    gradients are finite for any u within ±30 in float32.
    """

    @classmethod
    def read_parameter(cls, text: str) -> Kind:
        """As `read`, with what only coordinates need besides."""
        return cls.read(text)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers that the formulas are given."""
        return dataclasses.astuple(self)  # type: ignore[call-overload, no-any-return]

    @staticmethod
    @abstractmethod
    def value(u: Tensor, numbers: Numbers) -> Tensor:
        """u (B, *shape) -> x (B, *shape)."""

    @staticmethod
    @abstractmethod
    def log_slope(u: Tensor, numbers: Numbers) -> Tensor:
        """log dx/du at u: (B, *shape)."""

    @staticmethod
    @abstractmethod
    def coordinate(x: Tensor, numbers: Numbers) -> tuple[Tensor, Tensor]:
        """u of x, and which entries of x are inside: (B, *shape) each. Finite outside as well."""


class Event(Kind):
    """What values a vector or matrix may take, and the one-to-one map between free coordinates u
    and it.

    Axes before those that belong together count independent values. Where values have more entries
    than coordinates the log-det is that of some of the entries, which each class names.
    """

    axes: ClassVar[int]
    """How many axes belong together: 1 for vectors (..., K), 2 for matrices (..., K, K)."""

    @classmethod
    def named(cls, constraint: Any) -> bool:
        """Is this the support that a constraint of PyTorch names?"""
        return False

    @abstractmethod
    def latent(self, shape: Shape) -> Shape:
        """The shape of the coordinates of values of a shape."""

    @abstractmethod
    def value(self, u: Tensor, shape: Shape) -> Tensor:
        """u (B, *latent) -> x (B, *shape)."""

    @abstractmethod
    def log_det(self, u: Tensor, shape: Shape) -> Tensor:
        """log|det dx/du| at u: (B,)."""

    @abstractmethod
    def coordinates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """u of x (B, *shape), and which values are inside: (B, *leading axes)."""

    @abstractmethod
    def kept(self, shape: Shape) -> Tensor:
        """Which entries are worth a column of a table, a mask (*shape): all but constants and
        repetitions.
        """


def read_numbers(text: str) -> list[float]:
    """Numbers between colons. Raises `ValueError` for anything else, NaN included."""
    numbers = [float(number) for number in text.split(":")] if text else []
    if any(math.isnan(number) for number in numbers):
        raise ValueError(f"{text!r} is not a list of numbers")
    return numbers


def check_bounds(low: float, high: float) -> None:
    """Raise `ConfigError` unless low < high, with room for a value between them."""
    if not low < high or low == math.inf or high == -math.inf:
        raise ConfigError("a lower bound must lie below its upper one")


def check_finite(low: float, high: float, what: str) -> None:
    """Raise `ConfigError` unless low < high, both finite."""
    check_bounds(low, high)
    if not -math.inf < low < high < math.inf:
        raise ConfigError(f"{what} has finite ends")
