"""What base distributions have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from ..core.distribution import Distribution
from ..core.errors import ContextError
from ..core.shapes import as_shape, check_event, fold
from ..core.tensors import as_tensor

__all__ = ["Base", "randn", "uniform"]


class Base(Distribution):
    """An unconditional distribution from which a flow starts.

    To write one: implement `draw` and `density`, add one line to `tests/cases.py`.
    """

    @property
    def bounded(self) -> frozenset[int]:
        """The entries, counted as if flattened, for which not every real number has a density."""
        return frozenset()

    @abstractmethod
    def draw(self, n: int, temperature: float, generator: torch.Generator | None) -> Tensor:
        """n reparametrised draws, (n, *event), their spread about the centre(s) scaled by
        `temperature`.
        """

    @abstractmethod
    def density(self, x: Tensor, temperature: float = 1.0) -> Tensor:
        """Log-density (B,) at x (B, *event) of what `draw` draws at this temperature."""

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        _refuse(context)
        x = as_tensor(x)
        check_event(x, self.event_shape)
        rows, batch = fold(x, self.event_shape)
        return self.density(rows).reshape(batch)

    @torch.no_grad()
    def sample(
        self,
        shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        _refuse(context)
        lead = as_shape(shape)
        return self.draw(prod(lead), temperature, generator).reshape(*lead, *self.event_shape)

    def sample_and_log_prob(
        self,
        shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        _refuse(context)
        lead = as_shape(shape)
        x = self.draw(prod(lead), temperature, generator)
        return x.reshape(*lead, *self.event_shape), self.density(x, temperature).reshape(lead)


def _refuse(context: Tensor | None) -> None:
    if context is not None:
        raise ContextError(
            "a base distribution takes no context; a flow built with context_shape=... does"
        )


def randn(shape: Sequence[int], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers in the dtype and on the device of `like`, drawn on the generator's
    own device.
    """
    if generator is None:  # not as an argument: exported graphs have no generators
        return torch.randn(*shape, dtype=like.dtype, device=like.device)
    return torch.randn(*shape, generator=generator, dtype=like.dtype, device=generator.device).to(
        like.device
    )


def uniform(shape: Sequence[int], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform numbers in [0, 1) in the dtype and on the device of `like`, drawn on the generator's
    own device.
    """
    if generator is None:
        return torch.rand(*shape, dtype=like.dtype, device=like.device)
    return torch.rand(*shape, generator=generator, dtype=like.dtype, device=generator.device).to(
        like.device
    )
