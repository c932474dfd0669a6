"""What travels with a model beside its weights: who built it, of which data it is, how it was
trained.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, SerializeAsAny

__all__ = ["Built", "Card", "DataNote", "Training"]


class Built(BaseModel, frozen=True):
    """The function of `diffeo.models` that built a flow, by its name in the registry, and its
    arguments.
    """

    model: str
    args: dict[str, Any]


class DataNote(BaseModel, ABC):
    """What a model remembers of its data: the columns of a table, the classes of images.

    One class for a kind of data, in `diffeo.domains`; `key` is where config.json has it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    key: ClassVar[str]

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return self.model_dump(mode="json")


class Training(BaseModel, frozen=True, extra="allow"):
    """How a training run ended: `best` has `nll`, `nll_se` and the `step` of the weights kept,
    `rows` how many it had (`train`, `valid`), `start` what was taken out of the data first.
    """

    best: dict[str, Any] = {}
    rows: dict[str, Any] = {}
    steps: int = 0
    stopped: str | None = None
    settings: dict[str, Any] = {}
    start: dict[str, Any] | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON has it: what was said, and no more."""
        return self.model_dump(exclude_unset=True)


class Card(BaseModel, frozen=True):
    """What travels with a model; `source` names where its data were read, `notes` are the user's
    and must be JSON.

    >>> import diffeo
    >>> card = diffeo.models.nsf((2,), layers=3).card
    >>> card.model, card.args["layers"], card.training
    ('nsf', 3, None)
    """

    built: Built | None = None
    """None: assembled by hand."""
    data: SerializeAsAny[DataNote] | None = None
    source: str | None = None
    training: Training | None = None
    notes: dict[str, Any] = {}

    @property
    def model(self) -> str | None:
        """The name of its model; None for a flow built by hand."""
        return None if self.built is None else self.built.model

    @property
    def args(self) -> dict[str, Any]:
        """The arguments it was built with; none of a flow built by hand."""
        return {} if self.built is None else self.built.args

    def having(self, **changes: Any) -> Self:
        """The same with other values."""
        return self.model_copy(update=changes)

    def metadata(self) -> dict[str, Any]:
        """All but `built` in one dict that JSON can hold, the notes at its top level."""
        known = {
            **({} if self.data is None else {self.data.key: self.data.plain()}),
            **({} if self.source is None else {"source": self.source}),
            **({} if self.training is None else {"training": self.training.plain()}),
        }
        return {**self.notes, **known}

    def having_metadata(self, metadata: Mapping[str, Any], data: DataNote | None = None) -> Self:
        """The reverse of `metadata`, `data` being what stands under its key; raises pydantic's
        `ValidationError`.
        """
        rest = {key: value for key, value in metadata.items() if data is None or key != data.key}
        training = rest.pop("training", None)
        return self.having(
            data=data,
            source=_Source(source=rest.pop("source", None)).source,
            training=None if training is None else Training.model_validate(training),
            notes=rest,
        )


class _Source(BaseModel, strict=True):
    source: str | None
