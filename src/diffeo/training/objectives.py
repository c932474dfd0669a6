"""What training minimises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError, ShapeError
from ..flow import Flow

__all__ = ["LossFunction", "NegativeLogLikelihood", "Objective", "objective_for"]

LossFunction: TypeAlias = Callable[[Flow, Tensor, Tensor | None], Tensor]


class Objective(nn.Module, ABC):
    """A module whose forward turns a batch of tensors into one loss per row; the trainer knows
    no more of it.

    Its parameters are trained, those of the flow that it holds among them. `fit` takes an instance,
    or the class where it is made with the flow alone:

    >>> import torch, diffeo
    >>> class Smoothed(diffeo.training.Objective):
    ...     "Likelihood of rows with noise added: a density that is not narrower than the noise."
    ...     def __init__(self, flow, noise=0.1):
    ...         super().__init__()
    ...         self.flow, self.noise = flow, noise
    ...     def forward(self, x, context=None):
    ...         noisy = x + self.noise * torch.randn_like(x) if self.training else x
    ...         return -self.flow.log_prob(noisy, context)
    >>> flow = diffeo.models.nsf((1,), layers=2)
    >>> two_points = torch.tensor([[0.0], [1.0]]).repeat(250, 1)
    >>> _ = diffeo.fit(flow, two_points, objective=Smoothed(flow), steps=200, lr=1e-2)
    >>> bool(flow.log_prob(torch.tensor([[0.0]])) < 2)  # noise alone has log p = 0.7 there
    True
    """

    draws: bool = False
    """True: `forward` draws from PyTorch's global generators, besides what its modules draw. Of
    classes outside diffeo that is taken for granted.
    """

    @abstractmethod
    def forward(self, *batch: Tensor) -> Tensor:
        """The batch, first axis the rows -> losses (rows,)."""


class NegativeLogLikelihood(Objective):
    """loss(x, c) = −log p(x | c) in nats per row, in the data's own units: maximum likelihood.

    With `flips`, images are mirrored at random while training; with `precision="bfloat16"` the
    networks compute in that (but for those of coupling layers that are compiled whole), log-dets
    and densities in float32 all the same.
    """

    def __init__(self, flow: Flow, flips: bool = False, precision: str = "float32") -> None:
        super().__init__()
        self.flow = flow
        self.flips = flips
        self.precision = precision
        self.draws = flips

    def forward(self, *batch: Tensor) -> Tensor:
        x, *rest = batch
        if self.flips and self.training:
            mirrored = torch.rand(len(x), device=x.device) < 0.5
            x = torch.where(mirrored.view(-1, *[1] * (x.dim() - 1)), x.flip(-1), x)
        half = self.training and self.precision == "bfloat16"
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
            return -self.flow.log_prob(x, rest[0] if rest else None)


class Loss(Objective):
    """A function of (flow, x, context) as an objective; it may draw noise."""

    draws = True

    def __init__(self, flow: Flow, function: LossFunction) -> None:
        super().__init__()
        self.flow = flow
        self.function = function

    def forward(self, *batch: Tensor) -> Tensor:
        x, *rest = batch
        losses = self.function(self.flow, x, rest[0] if rest else None)
        if tuple(losses.shape) != (len(x),):
            raise ShapeError(
                f"the objective returned losses of shape {tuple(losses.shape)} for {len(x)} rows:"
                " one a row is needed"
            )
        return losses


def objective_for(flow: Flow, given: Any) -> Objective:
    """What `fit` was given as its objective, as one of `flow`; raises `ConfigError`."""
    if isinstance(given, type) and issubclass(given, Objective):
        given = given(flow)
    if isinstance(given, Objective):
        if all(module is not flow for module in given.modules()):
            raise ConfigError("the objective does not hold the flow that is to be fitted")
        return given
    if not callable(given):
        raise ConfigError(
            f"objective must be a function of (flow, x, context) or an Objective, got {given!r}"
        )
    return Loss(flow, given)
