"""The contract of elementwise monotone maps."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ..core.numerics import sum_event
from ..kernels import Kernel

__all__ = ["ElementwiseMap"]


class ElementwiseMap(ABC):
    """A strictly increasing scalar function with P parameters per entry, all-zero parameters being
    the identity.

    A subclass is a frozen dataclass: hashable, printable, JSON-able, owner of no tensors. It knows
    one scalar and its parameters, nothing of batches, masks or networks. To write one: one file
    here, one line in `tests/cases.py`.
    """

    @property
    @abstractmethod
    def num_params(self) -> int:
        """P, the number of parameters per entry."""

    @abstractmethod
    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """x (*S), params (*S, P) -> y (*S) and log dy/dx (*S)."""

    @abstractmethod
    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """y (*S), params (*S, P) -> x (*S) and log dx/dy (*S)."""

    def kernel(self, inverse: bool = False) -> Kernel | None:
        """The compiled kernel that is the whole of `forward`, or of `inverse`; None for a map that
        has none.
        """
        return None

    def forward_by_row(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """`forward` with the log-derivatives summed over all but the batch axis: (B,). Compiled
        kernels sum as they go.
        """
        if kernel := self.kernel():
            return kernel(x, params, by_row=True)
        y, logdet = self.forward(x, params)
        return y, sum_event(logdet)

    def inverse_by_row(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """`inverse` with the log-derivatives summed over all but the batch axis: (B,)."""
        if kernel := self.kernel(inverse=True):
            return kernel(y, params, by_row=True)
        x, logdet = self.inverse(y, params)
        return x, sum_event(logdet)

    def inverse_and_logdet_grad(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The pair of `inverse` and ∂ log(dx/dy) / ∂y (*S), a plain number without a
        graph.

        Path gradients need it (`diffeo.inference`). By autograd, unless a map knows it at less
        cost.
        """
        with torch.enable_grad():
            y = y if y.requires_grad else y.detach().requires_grad_()
            x, logdet = self.inverse(y, params)
            if not logdet.requires_grad:
                return x, logdet, torch.zeros_like(y)
            (grad,) = torch.autograd.grad(logdet.sum(), y, retain_graph=True, allow_unused=True)
        return x, logdet, torch.zeros_like(y) if grad is None else grad.detach()
