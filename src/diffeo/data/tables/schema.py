"""What the columns of a table are called and what they may hold: the part of a table that a model
remembers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ...card import DataNote
from ...core.errors import ConfigError, DataError
from ...core.wording import argument
from ...supports import Support
from ..names import refuse_duplicates, refuse_unknown

__all__ = ["Column", "Schema"]


class Column(BaseModel):
    """One named column and its support, written as in `Support.parse`.

    >>> Column(name="angle", support="circular:0:360").parsed.period
    360.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    support: str = "real"

    @field_validator("support")
    @classmethod
    def _canonical(cls, text: str) -> str:
        return str(Support.parse(text))

    @property
    def parsed(self) -> Support:
        """The support as an object."""
        return Support.parse(self.support)


class Schema(DataNote):
    """The columns a model is made for: modelled ones in order, context ones, and what was left out
    and why.

    `set_aside` maps each constant column to its value; `dropped` lists the columns the user left
    out.

    >>> Schema(columns=(Column(name="age", support="positive"),)).supports
    ('positive',)
    """

    key: ClassVar[str] = "schema"
    columns: tuple[Column, ...]
    context: tuple[Column, ...] = ()
    set_aside: dict[str, float] = Field(default_factory=dict)
    dropped: tuple[str, ...] = ()

    @field_validator("columns")
    @classmethod
    def _some(cls, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        if not columns:
            raise ConfigError("a schema needs at least one column")
        return columns

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a name that is used twice."""
        refuse_duplicates("schema", (*self.names, *self.context_names))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modelled columns, in the model's order."""
        return tuple(c.name for c in self.columns)

    @property
    def supports(self) -> tuple[str, ...]:
        """Supports of the modelled columns, in the model's order."""
        return tuple(c.support for c in self.columns)

    @property
    def context_names(self) -> tuple[str, ...]:
        """Names of the context columns, in the model's order."""
        return tuple(c.name for c in self.context)

    @property
    def has_integers(self) -> bool:
        """True if a modelled column is an integer one: its density is dequantised, so the
        likelihood is a bound.
        """
        return any(c.parsed.whole for c in self.columns)


def plan_columns(
    label: str,
    names: Sequence[str],
    *,
    overrides: Mapping[str, str],
    context: Sequence[str],
    drop: Sequence[str],
) -> tuple[str, ...]:
    """Names of the columns to be modelled: all but context and dropped ones, after the options have
    been checked.
    """
    refuse_unknown(label, overrides, names, option=argument("columns"))
    refuse_unknown(label, context, names, option=argument("context"))
    refuse_unknown(label, drop, names, option=argument("drop"))
    both = sorted(set(context) & set(drop))
    if both:
        raise ConfigError(
            f"column {both[0]!r} is both dropped and a context: choose one of"
            f" {argument('drop')} and {argument('context')}"
        )
    useless = sorted(set(overrides) & set(drop))
    if useless:
        raise ConfigError(
            f"column {useless[0]!r} is dropped, so"
            f" {argument('columns', {useless[0]: overrides[useless[0]]})} has no use: remove one of"
            " them"
        )
    modelled = tuple(n for n in names if n not in set(context) | set(drop))
    if not modelled:
        raise DataError(
            f"{label}: no column is left to model; drop fewer columns or use fewer as context"
        )
    return modelled
