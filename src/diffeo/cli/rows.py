"""Reading the data that a model is asked about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import ConfigError
from .images import read_for
from .images import tensors as image_tensors
from .models import schema_of
from .output import say

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Table
    from ..flow import Flow

__all__ = ["read_rows", "refuse_image_options", "refuse_table_options", "tensors"]


def read_rows(
    flow: Flow,
    folder: Path,
    data: Path,
    *,
    max_bad: float,
    labels: Path | None,
    resize: str | None,
    most: int | None = None,
    dialect: str | None = None,
) -> tuple[Tensor, Tensor | None, int]:
    """Rows, or (at most `most`) images, with their contexts, as a model wants them, and how many
    were unusable.
    """
    if len(flow.event_shape) == 3:
        refuse_table_options(folder, dialect)
        images = read_for(flow, data, labels, resize)
        return *image_tensors(images.subset(slice(0, most)), flow.context_shape == ()), 0
    from ..data import read_table

    refuse_image_options(folder, labels, resize)
    table = read_table(data, schema=schema_of(flow, folder), max_bad=max_bad, dialect=dialect)
    say(*table.account())
    return *tensors(table), table.intake.total - table.intake.kept


def refuse_image_options(folder: Path, labels: Path | None, resize: str | None) -> None:
    """Raise `ConfigError` when a model of tables is given options for images."""
    if labels is not None or resize is not None:
        raise ConfigError(f"{folder}: a model of tables takes neither --labels nor --resize")


def refuse_table_options(folder: Path, dialect: str | None) -> None:
    """Raise `ConfigError` when a model of images is given options for tables."""
    if dialect is not None:
        raise ConfigError(f"{folder}: a model of images takes no --dialect")


def tensors(table: Table) -> tuple[Tensor, Tensor | None]:
    """Rows and contexts of a table."""
    import torch

    return torch.from_numpy(table.values), (
        None if table.context is None else torch.from_numpy(table.context)
    )
