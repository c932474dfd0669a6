"""Training and validation rows, split by seed and checked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.errors import ConfigError, DataError, ShapeError
from ..core.streams import Stream, generator_for
from ..data import Images, read_images
from ..data.images.images import looks_like_images
from ..data.images.note import ImageNote
from ..flow import Flow
from ..runs import Processes, fingerprint
from .arrays import Rows, as_rows
from .evaluate import rows_per_pass
from .sampler import ArrayBatches, Batches, StreamBatches

__all__ = ["Dataset"]

SET_UP_ROWS = 65_536  # rows that data-dependent set-up looks at
# of images: as many as twice the rows that are scored at a time, all in memory at once
SET_UP_PASSES = 2


@dataclass
class Dataset:
    """Training and validation rows on the training device, or a stream of batches."""

    train: list[Tensor] | None
    valid: list[Tensor] | None
    stream: Iterable[Any] | None
    names: list[str] | None
    train_index: Tensor | None
    valid_index: Tensor | None
    place: torch.device
    note: ImageNote | None = None
    """Of images: what a model should remember, their bits and the names of their classes."""

    @classmethod
    def of(
        cls,
        flow: Flow,
        x: Any,
        context: Any,
        valid: Any,
        seed: int,
        place: torch.device,
        most: int = 50_000,
    ) -> Dataset:
        """`most`: how many rows a share given as `valid` holds out at most."""
        x, known = _as_images(x, flow)
        valid, _ = _as_images(valid, flow, known)
        if isinstance(x, Images):
            context = _labels(flow, x) if context is None else context
            x = x.tensors()[0]
        if isinstance(valid, Images):
            valid = (valid.tensors()[0], _labels(flow, valid))
        made = cls._of(flow, x, context, valid, seed, place, most)
        made.note = None if known is None else ImageNote(bits=known.bits, classes=known.classes)
        return made

    @classmethod
    def _of(
        cls, flow: Flow, x: Any, context: Any, valid: Any, seed: int, place: torch.device, most: int
    ) -> Dataset:
        rows = as_rows(x, context)
        if rows is None:  # a stream, which has no share to hold out
            held = None if valid is None or isinstance(valid, (int, float)) else _held_out(valid)
            held_rows = None if held is None else [t.to(place) for t in held.tensors]
            return cls(None, held_rows, x, None, None, None, place)
        _check(flow, rows)
        if isinstance(valid, (int, float)) and not isinstance(valid, bool):
            train_index, valid_index = _split(len(rows.x), float(valid), seed, most)
            parts = [
                [t[index].to(place) for t in rows.tensors] for index in (train_index, valid_index)
            ]
            return cls(
                parts[0],
                parts[1] if len(valid_index) else None,
                None,
                rows.names,
                train_index,
                valid_index,
                place,
            )
        held = None if valid is None else _held_out(valid)
        if held is not None:
            _check(flow, held)
        train = [t.to(place) for t in rows.tensors]
        return cls(
            train,
            None if held is None else [t.to(place) for t in held.tensors],
            None,
            rows.names,
            torch.arange(len(rows.x)),
            None,
            place,
        )

    @property
    def size(self) -> int:
        return len(self.train[0]) if self.train is not None else 10_000

    @property
    def counts(self) -> dict[str, int]:
        return {
            "train": len(self.train[0]) if self.train is not None else 0,
            "valid": len(self.valid[0]) if self.valid is not None else 0,
        }

    def batches(self, size: int, seed: int, processes: Processes) -> Batches:
        if self.train is None or self.train_index is None:
            assert self.stream is not None
            return StreamBatches(self.stream, self.place, seed)
        return ArrayBatches(
            self.train, self.train_index, size, seed, (processes.rank, processes.size)
        )

    def prints(self) -> dict[str, Any]:
        parts = {"training": self.train, "validation": self.valid}
        return {
            f"{what} {kind}": fingerprint(t, self.names if i == 0 else None)
            for what, tensors in parts.items()
            for i, (kind, t) in enumerate(zip(("rows", "contexts"), tensors or [], strict=False))
        }

    def example_contexts(self) -> Tensor | None:
        """A few contexts to draw samples at: held-out ones, else training ones; of classes, each in
        turn.
        """
        rows = self.valid or self.train
        if rows is None or len(rows) < 2:
            return None
        contexts = rows[1]
        return contexts.unique() if contexts.dim() == 1 else contexts[:64]

    def set_up_rows(self, flow: Flow, seed: int) -> list[Tensor]:
        """Training rows, with contexts, for data-dependent set-up: all, so many as are enough, or
        the first batch of a stream.
        """
        if self.train is None:
            some = list(StreamBatches(self.stream or [], self.place, seed).batch(0))
            for what, tensor in zip(("batch 0, row", "batch 0, context row"), some, strict=False):
                _refuse_non_finite(what, tensor)
            return some
        most = (
            SET_UP_ROWS
            if len(flow.event_shape) < 2
            else SET_UP_PASSES * rows_per_pass(flow.event_shape)
        )
        if len(self.train[0]) <= most:
            return self.train
        order = torch.randperm(
            len(self.train[0]), generator=generator_for(seed, Stream.SET_UP_ROWS)
        )[:most]
        return [t[order.to(t.device)] for t in self.train]


def _as_images(x: Any, flow: Flow, like: Images | None = None) -> tuple[Any, Images | None]:
    """`Images` of what is images, with classes numbered as those of `like`; anything else as it is.

    Raises `DataError` when the flow takes pixels of other depth.
    """
    paths = isinstance(x, (str, Path)) and looks_like_images(x)
    if not paths and not isinstance(x, Images):
        return x, None
    names = like.classes if like is not None and flow.context_shape == () else None
    images = read_images(x, classes=names, bits=flow.bits if paths else None)
    if flow.bits is not None and images.bits != flow.bits:
        raise DataError(
            f"{images.source}: pixels of {images.bits} bits, and the flow takes {flow.bits}: "
            f"read_images(..., bits={flow.bits}), or build it with bits={images.bits}"
        )
    return images, images


def _labels(flow: Flow, images: Images) -> Tensor | None:
    """Class numbers, where the flow is conditional on them. Raises `DataError` when there are
    none.
    """
    if flow.context_shape != ():
        return None
    if images.labels is None:
        raise DataError(
            f"{images.source}: no labels, which a class-conditional flow needs one of for each"
            " image"
        )
    return images.tensors()[1]


def _held_out(valid: Any) -> Rows:
    rows = as_rows(*valid) if isinstance(valid, tuple) else as_rows(valid, None)
    if rows is None:
        raise DataError("valid= takes a share such as 0.1, rows, or (rows, contexts)")
    return rows


def _split(rows: int, share: float, seed: int, most: int) -> tuple[Tensor, Tensor]:
    if not 0 <= share < 1:
        raise ConfigError(f"the share of validation rows must lie in [0, 1), got {share}")
    order = torch.randperm(rows, generator=generator_for(seed, Stream.SPLIT))
    count = 0 if share == 0 else min(max(1, round(share * rows)), most, rows - 1)
    return order[count:].sort().values, order[:count].sort().values


def _check(flow: Flow, rows: Rows) -> None:
    if tuple(rows.x.shape[1:]) != flow.event_shape:
        raise ShapeError(
            f"the rows have shape {tuple(rows.x.shape[1:])}, the flow's event shape is"
            f" {flow.event_shape}"
        )
    if len(rows.x) < 2:
        raise DataError(f"{len(rows.x)} row is too few to train on: at least 2 are needed")
    if flow.bits is not None and rows.x.dtype == torch.uint8 and int(rows.x.max()) >= 2**flow.bits:
        raise DataError(
            f"the pixels go up to {int(rows.x.max())}, and the flow takes {flow.bits} bits: shift"
            " them right"
        )
    for what, tensor in zip(("row", "context row"), rows.tensors, strict=False):
        if len(tensor) != len(rows.x):
            raise DataError(
                f"{len(rows.x)} rows but {len(tensor)} contexts: one context a row is needed"
            )
        if what == "context row" and tuple(tensor.shape[1:]) != flow.context_shape:
            raise ShapeError(
                f"the contexts have shape {tuple(tensor.shape[1:])}, the flow's context shape is"
                f" {flow.context_shape}"
            )
        _refuse_non_finite(what, tensor, rows.names if what == "row" else None)


def _refuse_non_finite(what: str, tensor: Tensor, names: list[str] | None = None) -> None:
    if not tensor.is_floating_point():
        return
    bad = (~tensor.reshape(len(tensor), -1).isfinite()).nonzero()
    if len(bad):
        row, column = bad[0].tolist()
        raise DataError(
            f"{what} {row}, column {(names[column] if names else column)!r}: not a finite number "
            "(empty, masked, NaN or infinite); remove or fill such rows first"
        )
