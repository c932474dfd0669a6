"""What training minimises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..flow import Flow

__all__ = ["NegativeLogLikelihood", "Objective"]


class Objective(nn.Module, ABC):
    """A module whose forward turns a batch of tensors into one loss per row; the trainer knows
    no more of it.
    """

    draws: bool = False
    """True: `forward` draws from PyTorch's global generators, besides what its modules draw."""

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
        self.flow, self.flips, self.precision = flow, flips, precision
        self.draws = flips

    def forward(self, *batch: Tensor) -> Tensor:
        x, *rest = batch
        if self.flips and self.training:
            mirrored = torch.rand(len(x), device=x.device) < 0.5
            x = torch.where(mirrored.view(-1, *[1] * (x.dim() - 1)), x.flip(-1), x)
        half = self.training and self.precision == "bfloat16"
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
            return self._loss(x, rest)

    def _loss(self, x: Tensor, rest: Sequence[Tensor]) -> Tensor:
        return -self.flow.log_prob(x, rest[0] if rest else None)
