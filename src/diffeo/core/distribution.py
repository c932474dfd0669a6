"""The contract of distributions: the bases are some, and `Flow` is one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .shapes import Shape, as_shape

__all__ = ["Distribution"]


class Distribution(nn.Module, ABC):
    """A distribution over events of a fixed shape; its parameters and buffers say its dtype and
    device.
    """

    def __init__(self, event_shape: int | Sequence[int]) -> None:
        super().__init__()
        self.event_shape: Shape = as_shape(event_shape)

    @abstractmethod
    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density in nats of x (*S, *event): shape (*S). −inf outside the support, NaN
        for NaN rows.
        """

    @abstractmethod
    def sample(
        self,
        shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draws of shape (*shape, *context_batch, *event), without gradients.

        `temperature` scales the spread of the base distribution. With a `generator` the draws are
        reproducible and the global generator is left alone.
        """

    @abstractmethod
    def sample_and_log_prob(
        self,
        shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Reparametrised draws, with gradients, and the log-density of the distribution that they
        were drawn from.
        """
