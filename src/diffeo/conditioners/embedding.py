"""What happens to a context before the conditioners see it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..core.errors import ContextError
from ..core.numerics import centre_and_scale
from ..core.settings import whole
from ..core.shapes import as_shape

__all__ = ["OneHot", "StandardizeContext"]


class StandardizeContext(nn.Module):
    """(c − mean) / sd per entry, fitted by `initialize` on the training contexts and stored with the model.

    Works in the context's own precision and hands on the model's. Constant entries are centred only.

    >>> import torch, diffeo
    >>> embed = diffeo.conditioners.StandardizeContext((1,))
    >>> embed.initialize(torch.tensor([[1.0], [3.0]]))
    >>> embed(torch.tensor([[3.0]]))
    tensor([[1.]])
    """

    mean: Tensor
    mean_rest: Tensor
    scale: Tensor

    def __init__(self, context_shape: int | Sequence[int]) -> None:
        super().__init__()
        self.context_shape = as_shape(context_shape)
        for name, value in (("mean", 0.0), ("mean_rest", 0.0), ("scale", 1.0)):
            self.register_buffer(name, torch.full(self.context_shape, value))

    def initialize(self, context: Tensor) -> None:
        mean, scale, _ = centre_and_scale(context)
        self.mean.copy_(mean)
        self.mean_rest.copy_(mean - self.mean)  # two float32 numbers hold 48 bits of the mean
        self.scale.copy_(scale)

    def forward(self, context: Tensor) -> Tensor:
        context = context if context.is_floating_point() else context.to(self.mean.dtype)
        return ((context - self.mean - self.mean_rest) / self.scale).to(self.mean.dtype)


class OneHot(nn.Module):
    """Class numbers c (B,) -> (B, classes) with a 1 at c: the context of a class-conditional flow, `context_shape=()`.

    Raises `ContextError` for a number that is no class, but not in a compiled or exported graph, which cannot branch on data.

    >>> import torch, diffeo
    >>> diffeo.conditioners.OneHot(3)(torch.tensor([2]))
    tensor([[0., 0., 1.]])
    """

    _like: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = whole("classes", classes)
        self.register_buffer("_like", torch.zeros(()), persistent=False)

    def forward(self, context: Tensor) -> Tensor:
        index = context.long()
        blind = torch.compiler.is_compiling() or context.device.type == "meta"
        if not blind and bool(((index < 0) | (index >= self.classes) | (index != context)).any()):
            raise ContextError(f"classes are whole numbers from 0 to {self.classes - 1}")
        return nn.functional.one_hot(index, self.classes).to(self._like.dtype)
