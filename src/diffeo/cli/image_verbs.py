"""The verbs on models of images."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import ConfigError
from .images import draw_images, notes, read_for, tensors
from .requests import Draws, Rows
from .room import check_room

if TYPE_CHECKING:
    from torch import Tensor

    from ..flow import Flow
    from ..training import Evaluation

__all__ = ["ImageVerbs"]


class ImageVerbs:
    """`Verbs` of images, which are bytes: they are in memory whole."""

    def read(
        self, flow: Flow, rows: Rows, first: int | None = None
    ) -> tuple[Tensor, Tensor | None, int]:
        from ..domains.image import by_class

        _refuse_dialect(rows.folder, rows.dialect)
        images = read_for(flow, rows.data, rows.labels, resize=rows.resize)
        x, labels = tensors(images.subset(slice(0, first)), by_class(flow))
        return x, labels, 0

    def pieces(self, flow: Flow, rows: Rows) -> Iterator[tuple[Tensor, Tensor | None]]:
        yield self.read(flow, rows)[:2]

    def draw(self, flow: Flow, draws: Draws) -> int:
        if draws.context is not None:
            raise ConfigError(f"{draws.folder}: a model of images takes no --context: use --class")
        _refuse_dialect(draws.folder, draws.dialect)
        check_room(draws.out, draws.n, prod(flow.event_shape), size=1)
        draw_images(flow, draws)
        return draws.n

    def describe(self, flow: Flow, folder: Path) -> dict[str, Any]:
        channels, height, width = flow.event_shape
        size = {"channels": channels, "height": height, "width": width}
        return {"images": {**size, **notes(flow).plain()}}

    def likelihood(self, result: Evaluation) -> list[str]:
        bits = f"{result.bits_per_dim:.4f} ± {result.bits_per_dim_se:.4f} bits per dimension"
        nats = f"{result.nll:.4f} ± {result.nll_se:.4f} nats per image"
        bound = " (an upper bound: pixels are dequantised)" if result.bound else ""
        return [f"{bits}, {nats}{bound}", f"{result.rows:,} images"]


def _refuse_dialect(folder: Path, dialect: str | None) -> None:
    if dialect is not None:
        raise ConfigError(f"{folder}: a model of images takes no --dialect")
