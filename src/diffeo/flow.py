"""A flow: a chain of transforms and a base distribution."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from .card import Card
from .conditioners.embedding import initialize_contexts, readable
from .core.constraints import Inside
from .core.distribution import Distribution
from .core.errors import ContextError, ExactnessError, ShapeError
from .core.shapes import Shape, as_shape, check_event, fold, fold_context
from .core.tensors import as_tensor
from .core.tracing import traced
from .core.transform import Transform
from .layers.support import support

__all__ = ["Flow"]


class Flow(Distribution):
    """log p(x) = log p_Z(f(x)) + log|det ∂f/∂x|: a distribution over events from a transform f and
    a base p_Z.

    Shapes: x (*S, *event), context (*C, *context); S and C broadcast. `embedding`, a
    module, turns contexts of `context_shape` into what the transform reads. Raises `ShapeError` or
    `ContextError`, naming the offending link, when the parts do not fit. Papamakarios et al. 2021,
    arXiv:1912.02762.

    >>> import torch, diffeo
    >>> flow = diffeo.Flow(diffeo.Chain([diffeo.layers.LULinear(2)]), diffeo.bases.Normal(2))
    >>> flow.log_prob(torch.zeros(5, 2)).shape, flow.sample((3, 4)).shape
    (torch.Size([5]), torch.Size([3, 4, 2]))
    """

    def __init__(
        self,
        transform: Transform,
        base: Distribution,
        *,
        context_shape: int | Sequence[int] | None = None,
        embedding: nn.Module | None = None,
    ) -> None:
        super().__init__(transform.inverse_shape(base.event_shape))
        if transform.forward_shape(self.event_shape) != base.event_shape:
            raise ShapeError(
                f"the transform maps {self.event_shape} to another shape than the base's"
                f" {base.event_shape}"
            )
        self.transform, self.base, self.embedding = transform, base, embedding
        self.context_shape: Shape | None = (
            transform.context_shape if context_shape is None else as_shape(context_shape)
        )
        if embedding is None and self.context_shape != transform.context_shape:
            raise ContextError(
                f"the transform reads contexts of shape {transform.context_shape}, not"
                f" {self.context_shape}"
            )
        self.card = Card()
        self.register_buffer("_anchor", torch.zeros(()), persistent=False)

    @property
    def recipe(self) -> dict[str, Any] | None:
        """Model name and arguments, from `card`; None for a flow built by hand."""
        return None if self.card.built is None else dict(self.card.built)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """All else that `card` holds, as JSON has it: column schema, training summary, notes of
        your own. Set it whole.
        """
        return MappingProxyType(self.card.metadata())

    @metadata.setter
    def metadata(self, metadata: Mapping[str, Any]) -> None:
        data = self.card.data
        same = data is not None and metadata.get(data.key) == data.plain()
        self.card = self.card.having_metadata(metadata, data if same else None)

    @property
    def exact(self) -> bool:
        """False when log-densities are lower bounds: the chain dequantises."""
        return self.transform.exact

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that densities are computed in."""
        return self._tensor("_anchor").dtype

    @property
    def device(self) -> torch.device:
        """Where the flow lives."""
        return self._tensor("_anchor").device

    def log_prob(self, x: Any, context: Any = None) -> Tensor:
        x, context = as_tensor(x), _optional(context)
        rows, rows_context, batch = self._enter(x, context, self.event_shape)
        log_prob = self._density(rows, rows_context)
        sound = log_prob.isfinite()
        # Graphs cannot ask, and other devices would lose their head start over Python while they
        # train.
        blind = traced() or log_prob.is_meta or (log_prob.requires_grad and not log_prob.is_cpu)
        if not blind and (bool(sound.all()) or not self._is_finite()):
            return log_prob.reshape(batch)
        lost = log_prob.isnan().reshape(batch) & ~self._unread(x, context)
        if not blind and log_prob.requires_grad and self.exact:
            # Once more without those rows, for their infinities would spoil the gradients of the
            # others.
            given = None if rows_context is None else rows_context[sound]
            log_prob = log_prob.detach().masked_scatter(sound, self._density(rows[sound], given))
        return log_prob.reshape(batch).masked_fill(lost, -math.inf)

    def _unread(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Which rows hold NaN, in the event or in the context."""
        rows = _holds_nan(x, self.event_shape).to(self.device)
        return (
            rows
            if context is None
            else rows | _holds_nan(context, self.context_shape or ()).to(self.device)
        )

    def _density(self, rows: Tensor, context: Tensor | None) -> Tensor:
        z, logdet = self.transform(rows, context)
        log_prob: Tensor = (self.base.log_prob(z) + logdet).to(self.dtype)
        return log_prob

    def _is_finite(self) -> bool:
        """Are all weights numbers? Of others no density follows anywhere."""
        return all(
            bool(t.isfinite().all()) for t in self.state_dict().values() if t.is_floating_point()
        )

    @torch.no_grad()
    def sample(
        self,
        shape: int | Sequence[int] = (),
        context: Any = None,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        rows_context, batch = self._lead(shape, context)
        z = self.base.sample((prod(batch),), temperature=temperature, generator=generator)
        x, _ = self.transform.inverse(z, rows_context)
        return x.reshape(*batch, *self.event_shape)

    def sample_and_log_prob(
        self,
        shape: int | Sequence[int] = (),
        context: Any = None,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draws as `sample`, with gradients, and their log-density at that temperature, in one
        pass.

        Raises `ExactnessError` when the chain is not exact.
        """
        if not self.exact:
            raise ExactnessError(
                "this flow dequantises, so its samples have no exact density: use sample()"
            )
        rows_context, batch = self._lead(shape, context)
        z, log_base = self.base.sample_and_log_prob(
            (prod(batch),), temperature=temperature, generator=generator
        )
        x, logdet = self.transform.inverse(z, rows_context)
        return x.reshape(*batch, *self.event_shape), (log_base - logdet).to(self.dtype).reshape(
            batch
        )

    def encode(self, x: Any, context: Any = None) -> tuple[Tensor, Tensor]:
        """data -> latent: z (*S, *base event) and log|det dz/dx| (*S)."""
        rows, rows_context, batch = self._enter(as_tensor(x), _optional(context), self.event_shape)
        z, logdet = self.transform(rows, rows_context)
        return z.reshape(*batch, *self.base.event_shape), logdet.to(self.dtype).reshape(batch)

    def decode(self, z: Any, context: Any = None) -> tuple[Tensor, Tensor]:
        """latent -> data: x (*S, *event) and log|det dx/dz| (*S); decode(encode(x)) is x."""
        rows, rows_context, batch = self._enter(
            as_tensor(z, "z"), _optional(context), self.base.event_shape
        )
        x, logdet = self.transform.inverse(rows.to(self.dtype), rows_context)
        return x.reshape(*batch, *self.event_shape), logdet.to(self.dtype).reshape(batch)

    def unpack(self, z: Any) -> list[Tensor]:
        """The latents of every scale, finest first: z (*S, *base event) -> [(*S, C, H, W),
        ...], one without scales.
        """
        z = as_tensor(z, "z")
        check_event(z, self.base.event_shape, "z")
        shapes = self.transform.parts(self.event_shape)
        if len(shapes) == 1:
            return [z]
        parts = z.split([prod(shape) for shape in shapes], -1)
        return [part.unflatten(-1, shape) for part, shape in zip(parts, shapes, strict=True)]

    def pack(self, parts: Sequence[Any]) -> Tensor:
        """The reverse of `unpack`; raises `ShapeError` when a scale is missing or has another
        shape.
        """
        shapes = self.transform.parts(self.event_shape)
        if len(parts) != len(shapes):
            raise ShapeError(f"this flow has latents at {len(shapes)} scales, got {len(parts)}")
        latents = [as_tensor(part, f"scale {i}") for i, part in enumerate(parts)]
        for i, (latent, shape) in enumerate(zip(latents, shapes, strict=True)):
            check_event(latent, shape, f"scale {i}")
        if len(shapes) == 1:
            return latents[0]
        return torch.cat(
            [latent.flatten(-len(shape)) for latent, shape in zip(latents, shapes, strict=True)], -1
        )

    @torch.no_grad()
    def initialize(self, x: Any, context: Any = None) -> Self:
        """Data-dependent set-up (standardisation, ActNorm, context scaling) from training data;
        returns the flow.
        """
        x, context = as_tensor(x), _optional(context)
        if context is not None and self.context_shape is not None and self.embedding is not None:
            check_event(context, self.context_shape, "context")
            given = fold(context.to(self.device), self.context_shape)[0]
            initialize_contexts(self.embedding, readable(given, self.embedding, self.dtype))
        rows, rows_context, _ = self._enter(x, context, self.event_shape)
        self.transform.initialize(rows, rows_context)
        return self

    def condition(self, context: Any = None) -> torch.distributions.Distribution:
        """The flow at one context (or batch of contexts) as a `torch.distributions.Distribution`.

        Its `support` is the data's: positive, intervals, circles, whole numbers or levels column by
        column. It has `rsample` where the flow is exact.
        """
        context = _optional(context)
        _, batch = fold_context(context, self.context_shape, ())
        return _Conditioned(self, context, torch.Size(batch))

    def _enter(
        self, x: Tensor, context: Tensor | None, event: Shape
    ) -> tuple[Tensor, Tensor | None, Shape]:
        check_event(x, event)
        x = x.to(self.device)
        if not self.transform.any_dtype and x.dtype != self.dtype:
            x = x.to(self.dtype)
        _, batch = fold(x, event)
        rows_context, full = self._contexts(context, batch)
        if full != batch:
            x = x.expand(*full, *event)
        return fold(x, event)[0], rows_context, full

    def _lead(self, shape: int | Sequence[int], context: Any) -> tuple[Tensor | None, Shape]:
        lead, context = as_shape(shape), _optional(context)
        _, own = fold_context(context, self.context_shape, ())
        return self._contexts(context, (*lead, *own))

    def _contexts(self, context: Tensor | None, batch: Shape) -> tuple[Tensor | None, Shape]:
        if context is None:
            return fold_context(None, self.context_shape, batch)
        if self.context_shape is not None and self.embedding is not None:
            # Embed each context once, however many rows share it.
            rows, own = fold_context(context.to(self.device), self.context_shape, ())
            assert rows is not None
            embedded: Tensor = self.embedding(readable(rows, self.embedding, self.dtype))
            return fold_context(
                embedded.reshape((*own, *embedded.shape[1:])), self.transform.context_shape, batch
            )
        return fold_context(
            context.to(device=self.device, dtype=self.dtype), self.context_shape, batch
        )

    def _tensor(self, name: str) -> Tensor:
        return self._buffers[name]  # type: ignore[return-value]


def _optional(context: Any) -> Tensor | None:
    return None if context is None else as_tensor(context, "context")


def _holds_nan(x: Tensor, event_shape: Shape) -> Tensor:
    """Which events (S...) have an entry that is NaN."""
    return x.isnan().flatten(-len(event_shape)).any(-1) if event_shape else x.isnan()


class _Conditioned(torch.distributions.Distribution):
    """A flow at a fixed context, as PyTorch's own kind of distribution."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (PyTorch's own protocol)

    def __init__(self, flow: Flow, context: Tensor | None, batch_shape: torch.Size) -> None:
        self.flow, self.context, self.has_rsample = flow, context, flow.exact
        super().__init__(batch_shape, torch.Size(flow.event_shape), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        known = support(
            self.flow.transform,
            self.flow.event_shape,
            getattr(self.flow.base, "bounded", frozenset()),
        )
        return known if known is not None else Inside(self.log_prob, len(self.event_shape))

    def log_prob(self, value: Any) -> Tensor:
        found = self.flow.log_prob(value, self.context)
        return found.expand(torch.broadcast_shapes(found.shape, self.batch_shape))

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        return self.flow.sample(self._lead(sample_shape), self.context)

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        return self.flow.sample_and_log_prob(self._lead(sample_shape), self.context)[0]

    def _lead(self, sample_shape: Sequence[int]) -> Sequence[int]:
        # Without a context to carry it, an expanded batch is so many more draws.
        return (*sample_shape, *self.batch_shape) if self.context is None else sample_shape

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> _Conditioned:
        size = torch.Size(batch_shape)
        if self.context is None:
            return _Conditioned(self.flow, None, size)
        return _Conditioned(
            self.flow, self.context.expand(*size, *(self.flow.context_shape or ())), size
        )
