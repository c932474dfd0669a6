"""The operator of an elementwise map: the implementation for the device, or the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..core.numerics import sum_event
from .native import kernels
from .registry import find

__all__ = ["Compiled", "Elementwise", "Kernel", "Pair", "compiled"]

Pair = tuple[Tensor, Tensor]


class Elementwise(Protocol):
    """An implementation, for one kind of device, of a map with given settings.

    x (B, *S) has 1 to 4 axes, params (B, *S, P) the same dtype; with `by_row` log-dets, and
    their gradients, are (B,), summed over *S.
    """

    def forward(self, x: Tensor, params: Tensor, settings: Sequence[float], by_row: bool) -> Pair:
        """y (B, *S) and log-det."""

    def vjp(
        self,
        x: Tensor,
        params: Tensor,
        grads: tuple[Tensor, Tensor],
        settings: Sequence[float],
        by_row: bool,
    ) -> Pair:
        """The gradients by x and params from those by y and log-det."""


@dataclass(frozen=True)
class Compiled:
    """The one in C++ that is registered under that name (NAME/cpu.cpp)."""

    name: str

    def forward(self, x: Tensor, params: Tensor, settings: Sequence[float], by_row: bool) -> Pair:
        y, logdet = torch.ops.diffeo.elementwise(x, params, self.name, settings, by_row)
        return y, logdet

    def vjp(
        self,
        x: Tensor,
        params: Tensor,
        grads: tuple[Tensor, Tensor],
        settings: Sequence[float],
        by_row: bool,
    ) -> Pair:
        by_x, by_params = torch.ops.diffeo.elementwise_backward(
            *grads, x, params, self.name, settings, by_row
        )
        return by_x, by_params


def compiled(name: str) -> Callable[[], Elementwise | None]:
    """What `registry.register` wants for a map that is compiled for CPUs."""
    return lambda: Compiled(name) if kernels().native else None


@dataclass(frozen=True)
class Kernel:
    """An elementwise map as an operator: its name in the registry, the numbers that make it, and
    its reference (x, params) -> (y, log-det) per entry.
    """

    name: str
    settings: tuple[float, ...]
    reference: Callable[[Tensor, Tensor], Pair]

    def __call__(self, x: Tensor, params: Tensor, by_row: bool = False) -> Pair:
        """x (B, *S), params (B, *S, P) -> y (B, *S) and its log-det, (B, *S) or summed by
        row (B,).
        """
        serving: Elementwise | None = find(self.name, x)
        if serving is None or params.device != x.device:
            y, logdet = self.reference(x, params)
            return y, sum_event(logdet) if by_row else logdet
        if x.dtype != params.dtype:
            dtype = torch.promote_types(x.dtype, params.dtype)
            x, params = x.to(dtype), params.to(dtype)
        if 1 <= x.dim() <= 4:
            return self._apply(serving, x, params, by_row=by_row)
        # none, or more axes than the kernels walk
        lead = (x.shape[0],) if by_row and x.dim() else ()
        y, logdet = self._apply(
            serving,
            x.reshape(*lead, -1),
            params.reshape(*lead, -1, params.shape[-1]),
            by_row=by_row,
        )
        return y.view(x.shape), logdet if lead else logdet.view(x.shape)

    def _apply(self, serving: Elementwise, x: Tensor, params: Tensor, *, by_row: bool) -> Pair:
        if (
            torch.compiler.is_compiling()
            or not torch.is_grad_enabled()
            or not (x.requires_grad or params.requires_grad)
        ):
            return serving.forward(x, params, self.settings, by_row)
        y, logdet = _Differentiable.apply(x, params, self, serving, by_row)  # type: ignore[no-untyped-call]
        return y, logdet


class _Differentiable(torch.autograd.Function):
    """The compiled operators know their gradients themselves (operators.py); this is the same with
    less overhead.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, params: Tensor, kernel: Kernel, serving: Elementwise, by_row: bool
    ) -> Pair:
        ctx.save_for_backward(x, params)
        ctx.kernel, ctx.serving, ctx.by_row = kernel, serving, by_row
        return serving.forward(x, params, kernel.settings, by_row)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, params = ctx.saved_tensors
        # a second derivative is wanted: the reference's gradients are differentiable
        if torch.is_grad_enabled():
            return (
                *_by_reference(ctx.kernel, x, params, grads=grads, by_row=ctx.by_row),
                None,
                None,
                None,
            )
        by_y, by_logdet = grads
        by_given = ctx.serving.vjp(x, params, (by_y, by_logdet), ctx.kernel.settings, ctx.by_row)
        return *by_given, None, None, None


def _by_reference(
    kernel: Kernel, x: Tensor, params: Tensor, *, grads: tuple[Tensor, ...], by_row: bool
) -> tuple[Tensor | None, ...]:
    with torch.enable_grad():
        # one may be a function of the other
        x, params = (t.view_as(t) if t.requires_grad else t for t in (x, params))
        y, logdet = kernel.reference(x, params)
        outputs = (y, sum_event(logdet) if by_row else logdet)
        wanted = [t for t in (x, params) if t.requires_grad]
        grads_of_wanted = iter(
            torch.autograd.grad(outputs, wanted, grads, create_graph=True, allow_unused=True)
        )
    return tuple(next(grads_of_wanted) if t.requires_grad else None for t in (x, params))
