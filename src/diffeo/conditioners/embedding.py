"""What happens to a context before the conditioners see it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..core.errors import ContextError
from ..core.numerics import centre_and_scale
from ..core.settings import whole
from ..core.shapes import as_shape
from ..core.tracing import traced

__all__ = ["OneHot", "StandardizeContext", "initialize_contexts", "readable"]


class StandardizeContext(nn.Module):
    """(c − mean) / sd per entry, fitted by `initialize` on the training contexts and stored with
    the model.

    Works in the context's own precision and hands on the model's. Constant entries are centred
    only. Raises `ContextError` for contexts of another shape.

    >>> import torch, diffeo
    >>> embed = diffeo.conditioners.StandardizeContext((1,))
    >>> embed.initialize(torch.tensor([[1.0], [3.0]]))
    >>> embed(torch.tensor([[3.0]]))
    tensor([[1.]])
    """

    mean: Tensor
    mean_rest: Tensor
    scale: Tensor
    any_dtype = True

    def __init__(self, context_shape: int | Sequence[int]) -> None:
        super().__init__()
        self.context_shape = as_shape(context_shape)
        for name, value in (("mean", 0.0), ("mean_rest", 0.0), ("scale", 1.0)):
            self.register_buffer(name, torch.full(self.context_shape, value))

    def initialize(self, context: Tensor) -> None:
        self._check(context)
        mean, scale, _ = centre_and_scale(context)
        self.mean.copy_(mean)
        self.mean_rest.copy_(mean - self.mean)  # two float32 numbers hold 48 bits of the mean
        self.scale.copy_(scale)

    def forward(self, context: Tensor) -> Tensor:
        self._check(context)
        context = context if context.is_floating_point() else context.double()
        return ((context - self.mean - self.mean_rest) / self.scale).to(self.mean.dtype)

    def _check(self, context: Tensor) -> None:
        if context.shape[1:] != self.context_shape:
            raise ContextError(
                f"built for contexts of shape {self.context_shape}, got {tuple(context.shape[1:])}"
            )


class OneHot(nn.Module):
    """Class numbers c (B,) -> (B, classes) with a 1 at c: the context of a class-conditional flow,
    `context_shape=()`.

    Raises `ContextError` for a number that is no class, but not in a compiled or exported graph,
    which cannot branch on data.

    >>> import torch, diffeo
    >>> diffeo.conditioners.OneHot(3)(torch.tensor([2]))
    tensor([[0., 0., 1.]])
    """

    _like: Tensor
    any_dtype = True

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = whole("classes", classes)
        self.register_buffer("_like", torch.zeros(()), persistent=False)

    def forward(self, context: Tensor) -> Tensor:
        index = context.long()
        if not _blind(context) and bool(
            ((index < 0) | (index >= self.classes) | (index != context)).any()
        ):
            raise ContextError(f"classes are whole numbers from 0 to {self.classes - 1}")
        return nn.functional.one_hot(index, self.classes).to(self._like.dtype)


def readable(context: Tensor, embedding: nn.Module, dtype: torch.dtype) -> Tensor:
    """A context as the embedding can read it: in `dtype`, whole numbers where it looks them up, as
    it is where it says so.

    Numbers are looked up by `nn.Embedding`, wherever it sits, and whole numbers without axes are
    those of classes. A module with `any_dtype = True`, such as `StandardizeContext`, takes what
    comes. Raises `ContextError` for 1.5 where numbers are looked up.
    """
    first = _first(embedding)
    if getattr(first, "any_dtype", False):
        return context
    if isinstance(first, LOOKUPS) and context.is_floating_point():
        if not _blind(context) and bool((context != context.floor()).any()):
            raise ContextError("an embedding looks up whole numbers, and the context holds others")
        return context.long()
    looked_up = any(isinstance(part, LOOKUPS) for part in embedding.modules())
    if not context.is_floating_point() and (looked_up or context.dim() == 1):
        return context.long()
    return context.to(dtype)


@torch.no_grad()
def initialize_contexts(embedding: nn.Module, context: Tensor) -> None:
    """Set up every `StandardizeContext` in an embedding from what reaches it of these contexts (B,
    *context).

    Raises `ContextError` when nothing reaches one.
    """
    waiting = {part for part in embedding.modules() if isinstance(part, StandardizeContext)}
    if not waiting:
        return

    def arrive(part: nn.Module, args: tuple[Tensor, ...]) -> None:
        if part in waiting:
            waiting.remove(part)
            part.initialize(args[0])

    hooks = [part.register_forward_pre_hook(arrive) for part in waiting]
    try:
        embedding(context)
    finally:
        for hook in hooks:
            hook.remove()
    if waiting:
        raise ContextError(
            "the embedding holds a StandardizeContext that it does not call, so it cannot be set"
            " up: take it out"
        )


LOOKUPS = (nn.Embedding, nn.EmbeddingBag)
RESHAPES = (nn.Identity, nn.Flatten, nn.Unflatten)


def _first(embedding: nn.Module) -> nn.Module:
    """The module that reads the context first."""
    if not isinstance(embedding, nn.Sequential):
        return embedding
    return next((_first(part) for part in embedding if not isinstance(part, RESHAPES)), embedding)


def _blind(context: Tensor) -> bool:
    """Can nothing be asked about the values?"""
    return traced() or context.device.type == "meta"
