"""One call for all kernels: the compiled one where it serves, its twin elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.numerics import sum_event
from .native import serves

__all__ = ["Kernel"]

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Kernel:
    """An elementwise map: the compiled one of that name, and its twin (x, params) -> (y, log-det)
    per entry.

    `settings` are the numbers that make the compiled one.
    """

    name: str
    settings: tuple[float, ...]
    twin: Callable[[Tensor, Tensor], Pair]

    def __call__(self, x: Tensor, params: Tensor, by_row: bool = False) -> Pair:
        """x (B, *S), params (B, *S, P) -> y (B, *S) and its log-det, (B, *S) or summed by
        row (B,).
        """
        if not serves(x) or params.device.type != "cpu":
            y, logdet = self.twin(x, params)
            return y, sum_event(logdet) if by_row else logdet
        if x.dtype != params.dtype:
            dtype = torch.promote_types(x.dtype, params.dtype)
            x, params = x.to(dtype), params.to(dtype)
        if 1 <= x.dim() <= 4:
            return self._apply(x, params, by_row)
        # none, or more axes than the kernels walk
        lead = (x.shape[0],) if by_row and x.dim() else ()
        y, logdet = self._apply(
            x.reshape(*lead, -1), params.reshape(*lead, -1, params.shape[-1]), by_row
        )
        return y.view(x.shape), logdet if lead else logdet.view(x.shape)

    def _apply(self, x: Tensor, params: Tensor, by_row: bool) -> Pair:
        if (
            torch.compiler.is_compiling()
            or not torch.is_grad_enabled()
            or not (x.requires_grad or params.requires_grad)
        ):
            return self.forward(x, params, by_row)
        y, logdet = _Fused.apply(x, params, self, by_row)  # type: ignore[no-untyped-call]
        return y, logdet

    def forward(self, x: Tensor, params: Tensor, by_row: bool) -> Pair:
        y, logdet = torch.ops.diffeo.elementwise(x, params, self.name, self.settings, by_row)
        return y, logdet

    def backward(
        self, x: Tensor, params: Tensor, grad_y: Tensor, grad_logdet: Tensor, by_row: bool
    ) -> Pair:
        op = torch.ops.diffeo.elementwise_backward
        grad_x, grad_params = op(grad_y, grad_logdet, x, params, self.name, self.settings, by_row)
        return grad_x, grad_params


class _Fused(torch.autograd.Function):
    """The operators know their gradients themselves (operators.py); this is the same with less
    overhead.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, params: Tensor, kernel: Kernel, by_row: bool) -> Pair:
        ctx.save_for_backward(x, params)
        ctx.kernel, ctx.by_row = kernel, by_row
        return kernel.forward(x, params, by_row)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, params = ctx.saved_tensors
        # a second derivative is wanted: the twin's gradients are differentiable
        if torch.is_grad_enabled():
            return *_by_twin(ctx.kernel, x, params, grads, ctx.by_row), None, None
        return *ctx.kernel.backward(x, params, *grads, ctx.by_row), None, None


def _by_twin(
    kernel: Kernel, x: Tensor, params: Tensor, grads: tuple[Tensor, ...], by_row: bool
) -> tuple[Tensor | None, ...]:
    with torch.enable_grad():
        # one may be a function of the other
        x, params = (t.view_as(t) if t.requires_grad else t for t in (x, params))
        y, logdet = kernel.twin(x, params)
        outputs = (y, sum_event(logdet) if by_row else logdet)
        wanted = [t for t in (x, params) if t.requires_grad]
        found = iter(
            torch.autograd.grad(outputs, wanted, grads, create_graph=True, allow_unused=True)
        )
    return tuple(next(found) if t.requires_grad else None for t in (x, params))
