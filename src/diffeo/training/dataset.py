"""Training and validation rows, split by seed and checked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..card import DataNote
from ..core.errors import ConfigError, DataError, ShapeError
from ..core.streams import Stream, generator_for
from ..domains import of_flow
from ..domains.image import bits_of
from ..flow import Flow
from ..runs import Processes, fingerprint
from .arrays import Rows, as_rows
from .sampler import ArrayBatches, Batches, StreamBatches

__all__ = ["Dataset"]


@dataclass(kw_only=True)
class Dataset:
    """Training and validation rows on the training device, or a stream of batches."""

    device: torch.device
    train: list[Tensor] | None = None
    valid: list[Tensor] | None = None
    stream: Iterable[Any] | None = None
    names: list[str] | None = None
    train_index: Tensor | None = None
    valid_index: Tensor | None = None
    note: DataNote | None = None
    """What a model should remember of its data."""

    @classmethod
    def of(
        cls,
        flow: Flow,
        x: Any,
        context: Any = None,
        *,
        valid: Any,
        seed: int,
        device: torch.device,
    ) -> Dataset:
        """Rows, or whatever its kind of data is given as, as the flow takes them; `valid` is a
        share of them, rows, or (rows, contexts).
        """
        domain = of_flow(flow)
        given = domain.training_data(flow, x, context, valid=valid)
        rows = as_rows(given.x, given.context)
        held_out = _held_out(given.valid)
        if rows is None:  # a stream, which has no share to hold out
            valid_rows = None if held_out is None else _on(device, held_out.tensors)
            return cls(device=device, stream=given.x, valid=valid_rows, note=given.note)
        _check(flow, rows)
        if _is_share(given.valid):
            order = _split(len(rows.x), given.valid, most=domain.most_held_out, seed=seed)
            return cls._split_by(order, rows, device=device, note=given.note)
        if held_out is not None:
            _check(flow, held_out)
        return cls(
            device=device,
            train=_on(device, rows.tensors),
            valid=None if held_out is None else _on(device, held_out.tensors),
            names=rows.names,
            train_index=torch.arange(len(rows.x)),
            note=given.note,
        )

    @classmethod
    def _split_by(
        cls,
        order: tuple[Tensor, Tensor],
        rows: Rows,
        *,
        device: torch.device,
        note: DataNote | None,
    ) -> Dataset:
        train_index, valid_index = order
        valid = _on(device, [t[valid_index] for t in rows.tensors])
        return cls(
            device=device,
            train=_on(device, [t[train_index] for t in rows.tensors]),
            valid=valid if len(valid_index) else None,
            names=rows.names,
            train_index=train_index,
            valid_index=valid_index,
            note=note,
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
            return StreamBatches(self.stream, self.device, seed)
        return ArrayBatches(
            self.train,
            self.train_index,
            batch_size=size,
            seed=seed,
            share=(processes.rank, processes.size),
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
            some = list(StreamBatches(self.stream or [], self.device, seed).batch(0))
            for what, tensor in zip(("batch 0, row", "batch 0, context row"), some, strict=False):
                _refuse_non_finite(what, tensor)
            return some
        most = of_flow(flow).set_up_rows(flow.event_shape)
        if len(self.train[0]) <= most:
            return self.train
        order = torch.randperm(
            len(self.train[0]), generator=generator_for(seed, Stream.SET_UP_ROWS)
        )[:most]
        return [t[order.to(t.device)] for t in self.train]


def _on(device: torch.device, tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.to(device) for tensor in tensors]


def _is_share(valid: Any) -> bool:
    return isinstance(valid, (int, float)) and not isinstance(valid, bool)


def _held_out(valid: Any) -> Rows | None:
    """Rows that were given; None where none were, or a share of the training rows."""
    if valid is None or _is_share(valid):
        return None
    rows = as_rows(*valid) if isinstance(valid, tuple) else as_rows(valid, None)
    if rows is None:
        raise DataError("valid= takes a share such as 0.1, rows, or (rows, contexts)")
    return rows


def _split(rows: int, share: float, *, most: int, seed: int) -> tuple[Tensor, Tensor]:
    """The numbers of the training rows and of those held out, each in order."""
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
    bits = bits_of(flow)
    if bits is not None and rows.x.dtype == torch.uint8 and int(rows.x.max()) >= 2**bits:
        raise DataError(
            f"the pixels go up to {int(rows.x.max())}, and the flow takes {bits} bits: shift"
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
