"""What the contenders on PyTorch share: the networks and the training step, all under the same
fused Adam.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from itertools import pairwise

import torch
from torch import Tensor, nn
from worker import RATE, Contender, Settings

__all__ = ["contender", "halves", "mlp", "start"]


def start(settings: Settings) -> None:
    """Threads and seed; called before anything is built."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)


def mlp(inputs: int, hidden: list[int], outputs: int) -> nn.Sequential:
    """Linear layers with ReLUs between."""
    sizes = [inputs, *hidden]
    body = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*body, nn.Linear(sizes[-1], outputs))


def halves(size: int, layer: int) -> Tensor:
    """True for the entries that a layer conditions on: the first half, then the second, and so
    on.
    """
    first = torch.arange(size) < size // 2
    return first if layer % 2 == 0 else ~first


def contender(
    package: str,
    model: nn.Module,
    log_prob: Callable[[Tensor], Tensor],
    sample: Callable[[int], Tensor],
    note: str = "",
    density: bool = True,
) -> Contender:
    """A model with its two functions as a contender."""
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)

    def step(x: Tensor) -> float:
        optimizer.zero_grad()
        loss = -log_prob(x).mean()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    release = f"{package} {version(package)}" if package != "bare" else f"torch {torch.__version__}"
    return Contender(
        release,
        parameters,
        torch.from_numpy,
        step,
        torch.no_grad()(log_prob),
        torch.no_grad()(sample),
        note,
        density,
    )
