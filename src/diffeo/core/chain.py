"""Transforms one after the other."""

from __future__ import annotations

from torch import Tensor

from .links import Links

__all__ = ["Chain"]


class Chain(Links):
    """y = (f_n ∘ ... ∘ f_1)(x), log|det dy/dx| = Σ log|det df_i|: the first transform is the one
    nearest the data.

    Raises `ContextError` when two links ask for contexts of different shapes. `forward_shape` names
    the link that cannot take its input.

    >>> import torch, diffeo
    >>> chain = diffeo.Chain([diffeo.layers.Permute([1, 0]), diffeo.layers.Standardize((2,))])
    >>> chain(torch.tensor([[1.0, 2.0]]))[0]
    tensor([[2., 1.]])
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.through(x, context)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.back(y, context)
