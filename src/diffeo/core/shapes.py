"""Event shapes: normalising them, checking tensors against them, folding sample shapes into one
batch axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral

import torch
from torch import Tensor

from .errors import ContextError, ShapeError

__all__ = ["as_shape", "check_event", "flat", "fold", "fold_context"]

Shape = tuple[int, ...]


def as_shape(shape: int | Sequence[int]) -> Shape:
    """`6` and `[6]` and `torch.Size([6])` are all `(6,)`. Raises `ShapeError` on what is no whole
    number, or negative.
    """
    several = shape if isinstance(shape, Iterable) and not isinstance(shape, str) else [shape]
    sizes = tuple(_size(n) for n in several)
    if any(n < 0 for n in sizes):
        raise ShapeError(f"a shape cannot have negative sizes: {sizes}")
    return sizes


def _size(n: int) -> int:
    # The symbolic sizes of graphs that are exported stay symbolic.
    if isinstance(n, torch.SymInt) or type(n) is int:
        return n
    if not isinstance(n, Integral) or isinstance(n, bool):
        raise ShapeError(f"a shape consists of whole numbers, not {n!r}")
    return int(n)


def check_event(x: Tensor, event_shape: Shape, name: str = "x") -> None:
    """Raise `ShapeError` unless the trailing axes of `x` are `event_shape`."""
    n = len(event_shape)
    if x.dim() < n or tuple(x.shape[x.dim() - n :]) != event_shape:
        raise ShapeError(
            f"{name} has shape {tuple(x.shape)}, which does not end in the event shape"
            f" {event_shape}"
        )


def flat(x: Tensor) -> Tensor:
    """`(B, *event) -> (B, D)`, where a scalar is an event of one number."""
    return x.flatten(1) if x.dim() > 1 else x[:, None]


def fold(x: Tensor, event_shape: Shape) -> tuple[Tensor, Shape]:
    """`(*S, *event) -> (B, *event), S`."""
    batch = tuple(x.shape[: x.dim() - len(event_shape)])
    return x.reshape(-1, *event_shape) if len(batch) != 1 else x, batch


def fold_context(
    context: Tensor | None, context_shape: Shape | None, batch: Shape
) -> tuple[Tensor | None, Shape]:
    """Check a context `(*C, *context)` and expand it over the broadcast of `batch` and C: `(B,
    *context), broadcast`.

    Raises `ContextError` when a context is missing, unexpected or of the wrong shape.
    """
    if context_shape is None:
        if context is not None:
            raise ContextError(
                "this flow takes no context: build it with context_shape=..., or leave the"
                " context out"
            )
        return None, batch
    if context is None:
        raise ContextError(f"this flow needs a context of shape {context_shape}")
    lead = context.dim() - len(context_shape)
    if lead < 0 or tuple(context.shape[lead:]) != context_shape:
        raise ContextError(
            f"the context has shape {tuple(context.shape)}, which does not end in {context_shape}"
        )
    try:
        full = tuple(torch.broadcast_shapes(batch, context.shape[:lead]))
    except RuntimeError:
        raise ContextError(
            f"a context batch of {tuple(context.shape[:lead])} does not fit a batch of {batch}"
        ) from None
    return context.expand((*full, *context_shape)).reshape(-1, *context_shape), full
