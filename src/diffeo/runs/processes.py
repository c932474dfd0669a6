"""The processes of a distributed run, which `torchrun` starts."""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

__all__ = ["Processes"]


@dataclass(frozen=True)
class Processes:
    """The rank of this process and the number of all."""

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: torch.device) -> Processes:
        """Join the process group that `torchrun` announced in the environment, if it did."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
            # threads of a group that is still there may abort the process as it ends
            atexit.register(_leave)
        return cls(dist.get_rank(), size)

    @property
    def first(self) -> bool:
        """True for the process that writes files."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module whose backward averages gradients over all processes."""
        trains = any(p.requires_grad for p in module.parameters())
        return nn.parallel.DistributedDataParallel(module) if self.size > 1 and trains else module

    def largest(self, value: float) -> float:
        """The maximum of a number over all processes, so that all take the same decision."""
        if self.size == 1:
            return value
        number = torch.tensor([value], dtype=torch.float64)
        dist.all_reduce(number, op=dist.ReduceOp.MAX)
        return number.item()


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
