"""The side of a contender: times what it is asked to on stdin and answers on stdout, in milliseconds. Needs torch only."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["Model", "serve"]

Model = tuple[nn.Module, Callable[[Tensor], Tensor], Callable[[], Tensor]]  # the module, log_prob, sample


def serve(models: dict[str, Callable[[], Model]], batch: Callable[[], Tensor]) -> None:
    """Build the model named on the command line, say how large it is and that it learns, then answer until stdin ends."""
    torch.set_num_threads(int(sys.argv[2]))
    torch.manual_seed(0)
    model, log_prob, sample = models[sys.argv[1]]()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    x = batch()

    def step() -> float:
        optimizer.zero_grad()
        loss = -log_prob(x).mean()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    @torch.no_grad()
    def score() -> None:
        log_prob(x)

    @torch.no_grad()
    def draw() -> None:
        sample()

    jobs: dict[str, Callable[[], object]] = {"step": step, "log_prob": score, "sample": draw}
    losses = [step() for _ in range(10)]
    facts = {"parameters": sum(p.numel() for p in model.parameters()), "first_loss": losses[0], "last_loss": losses[-1]}
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        job, repeats = line.split()
        if job == "peak":
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)
            continue
        start = time.perf_counter()
        for _ in range(int(repeats)):
            jobs[job]()
        print((time.perf_counter() - start) / int(repeats) * 1e3, flush=True)
