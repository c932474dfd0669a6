"""One training step: gradient, clipping, AdamW, moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core.seeds import seeder
from ..core.streams import Stream, mix
from ..runs import Processes
from .config import TrainConfig
from .ema import Average
from .objectives import Objective

__all__ = ["StepResult", "Stepper"]


class StepResult(NamedTuple):
    """What came out of a step."""

    losses: Tensor
    """(rows,), with their graph."""
    loss: float
    grad_norm: Tensor
    """Before clipping."""
    finite: bool
    """False: loss or gradient was not finite in one of the processes, and no weight has moved."""


class Stepper:
    """The objective's parameters with all that a step changes: optimiser and moving average."""

    def __init__(self, objective: Objective, config: TrainConfig, processes: Processes) -> None:
        self.objective = objective
        self.config = config
        self.processes = processes
        self.module = processes.wrap(objective)
        self.seeded = seeder(objective)
        self.parameters = [p for p in objective.parameters() if p.requires_grad]
        self.average = Average(objective, config.ema)
        self.optimizer = torch.optim.AdamW(
            list(self._groups()), lr=config.lr, fused=self._can_fuse()
        )

    def step(self, batch: Sequence[Tensor], *, step: int, lr: float) -> StepResult:
        """Move the weights against the gradient of the batch's mean loss, if it is finite."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        with self.seeded(mix(self.config.seed, Stream.STEP, step, self.processes.rank)):
            losses = self.module(*batch)
            mean = losses.mean()
            mean.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        loss = mean.item()
        broken = not (mean.isfinite() and norm.isfinite())
        finite = not self.processes.largest(float(broken))
        if finite:
            self.optimizer.step()
            self.average.update()
        return StepResult(losses, loss, norm, finite)

    @property
    def lr(self) -> float:
        """The learning rate of the last step."""
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a step changes."""
        tensors = {f"model.{name}": t for name, t in self.objective.state_dict().items()}
        tensors |= {f"average.{i}": t for i, t in enumerate(self.average.mean)}
        for i, parameter in enumerate(self._in_order()):
            tensors |= {f"optimizer.{i}.{k}": v for k, v in self.optimizer.state[parameter].items()}
        return tensors

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """The reverse of `tensors`."""
        self.objective.load_state_dict(part_of(tensors, "model"))
        for i, mean in enumerate(self.average.mean):
            mean.copy_(tensors[f"average.{i}"])
        for i, parameter in enumerate(self._in_order()):
            # Laid out in memory as the parameter is (convolutions keep channels last): the fused
            # optimiser goes by memory.
            self.optimizer.state[parameter] = {
                k: t.clone() if k == "step" else torch.empty_like(parameter).copy_(t)
                for k, t in part_of(tensors, f"optimizer.{i}").items()
            }

    def _in_order(self) -> Iterator[nn.Parameter]:
        """The parameters as the optimiser numbers them."""
        return (p for group in self.optimizer.param_groups for p in group["params"])

    def _groups(self) -> Iterator[dict[str, Any]]:
        """Weight decay is for the matrices of the networks; shifts, scales and knots are left
        alone.
        """
        matrices = {
            id(m.weight) for m in self.objective.modules() if isinstance(m, (nn.Linear, nn.Conv2d))
        }
        decayed = [p for p in self.parameters if id(p) in matrices]
        yield {"params": decayed, "weight_decay": self.config.weight_decay}
        yield {"params": [p for p in self.parameters if id(p) not in matrices], "weight_decay": 0.0}

    def _can_fuse(self) -> bool:
        return all(
            p.is_floating_point() and p.device.type in ("cpu", "cuda", "mps")
            for p in self.parameters
        )


def part_of(tensors: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    """The tensors named `key.NAME`, by NAME."""
    start = f"{key}."
    return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}
