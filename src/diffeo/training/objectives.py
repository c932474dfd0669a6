"""What training minimises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..flow import Flow

__all__ = ["NegativeLogLikelihood", "Objective"]


class Objective(nn.Module, ABC):
    """A module whose forward turns a batch of tensors into one loss per row; the loop knows no more
    of it.
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


def blame(
    losses: Tensor, batch: Sequence[Tensor], rows: Sequence[int], names: Sequence[str] | None
) -> str:
    """Words for the rows whose loss is not finite, and the column that stands out most in each."""
    x = batch[0].flatten(1).double()
    bad = (~losses.isfinite()).nonzero().flatten().tolist()
    if not bad:
        return "no single row has a non-finite loss: the gradient overflowed"
    spread = (x - x.nanmedian(0).values).abs()
    spread = spread / spread.nanmedian(0).values.clamp_min(1e-300)
    if len(bad) < len(x):  # a value beyond all those of the good rows is the likelier culprit
        good = x[losses.isfinite()]
        spread = spread + 1e9 * ((x < good.amin(0)) | (x > good.amax(0)))
    said = []
    for i in bad[:3]:
        column = int(spread[i].nan_to_num(nan=float("inf")).argmax())
        name = names[column] if names else f"x{column}"
        said.append(f"row {rows[i]} (column {name!r} = {x[i, column].item():g})")
    return f"{len(bad)} rows have a non-finite loss: {', '.join(said)}"
