"""A kind of data: the one place that knows how it is read, modelled, trained on and told of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from ..card import DataNote
from ..core.passes import rows_per_pass
from ..flow import Flow
from ..models import default_model

__all__ = ["Advice", "Domain", "TrainingData"]


class Advice(Protocol):
    """Settings of training for data of a size."""

    @property
    def batch_size(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def steps(self) -> int: ...
    @property
    def eval_every(self) -> int: ...
    @property
    def patience(self) -> int: ...


@dataclass(frozen=True)
class TrainingData:
    """What a user gave to train on, ready to become tensors; `note` is what a model should
    remember of it.
    """

    x: Any
    context: Any
    valid: Any
    note: DataNote | None = None


class Domain(ABC):
    """One kind of data. A new one is a file here and its line in `DOMAINS`, readers in `data/`,
    sections in `report/`, and verbs of the command.
    """

    name: ClassVar[str]
    """As in `ModelSpec.builders`."""
    event: ClassVar[str]
    """The word for one event."""
    note: ClassVar[type[DataNote] | None]
    """What a model remembers of such data; None: nothing."""
    unit: ClassVar[str]
    """What losses are told in; `units` says how many nats that is."""
    contexts: ClassVar[tuple[str, ...] | None]
    """What files hold that a model can be conditioned on; None: any column."""
    mirrored: ClassVar[bool]
    """Whether events may be flipped at random."""
    drawn: ClassVar[bool]
    """Whether samples are drawn while a model learns."""
    levels: ClassVar[bool]
    """Whether all values are levels, so that `check` looks at a flow behind its noise."""
    examined: ClassVar[bool]
    """Whether `check` asks if the rows have a density."""
    most_held_out: ClassVar[int]
    """How many rows a share of them holds out at most."""
    evaluations: ClassVar[int]
    """About how many a run of training has."""

    @property
    def default_model(self) -> str:
        """The name of the model that data of this kind get where none is asked for."""
        return default_model(self.name)

    @abstractmethod
    def looks_like(self, source: Any) -> bool:
        """Whether a file, a folder or an array is of this kind; looks at names and headers only."""

    @abstractmethod
    def read(self, source: Any, **options: Any) -> Any:
        """The data in a source; raises `DataError` or `ConfigError` in one line."""

    @abstractmethod
    def arguments(self, data: Any, *, conditional: bool) -> dict[str, Any]:
        """The arguments of a model of these data, which begins with what they ask for: kinds of
        columns, bits of pixels.
        """

    @abstractmethod
    def recommend(self, rows: int, dims: int, context: int = 0) -> Advice:
        """Settings for so many rows of `dims` numbers each, with so many numbers of context."""

    @abstractmethod
    def units(self, event_shape: Sequence[int]) -> float:
        """Nats in one `unit` of the loss of an event."""

    @abstractmethod
    def set_up_rows(self, event_shape: Sequence[int]) -> int:
        """How many rows data-dependent set-up looks at, all of them in memory at once."""

    def training_data(self, flow: Flow, x: Any, context: Any, *, valid: Any) -> TrainingData:
        """What `fit` was given as this flow takes it."""
        return TrainingData(x, context, valid)

    def checked(self, rows: int, event_shape: Sequence[int]) -> int:
        """How many of `rows` the checkup takes through a flow at once."""
        return min(rows, rows_per_pass(event_shape))

    def jacobians(self, wanted: int, event_shape: Sequence[int]) -> int:
        """How many Jacobians of autograd the checkup can afford of those wanted."""
        return wanted
