"""Activation memory and time of a training step of `nsf` at depths 8 to 64, all activations stored
and none of them.

    python benchmarks/memory.py [--depths 8 16 32 64] [--rounds 15] [--threads 1]
                                [--batch 1024] [--width 16]

Printed as Markdown. Memory is counted, not sampled: every tensor that a step makes, while it is
alive; the weights and what becomes their gradients are left out, as both ways have them. Times are
medians of the rounds, in each of which every model takes a step; the ratio is the median of the
ratios of a round.
"""

from __future__ import annotations

import argparse
import statistics
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import diffeo
from diffeo.kernels import pool

__all__ = ["Live", "peak"]


class Live(TorchDispatchMode):
    """Notes each block of memory that operations make, when it comes and when it goes."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        # address -> number; 0 for what was there before
        self.blocks = {_block(tensor)._cdata: 0 for tensor in known}
        self.events: list[tuple[int, int]] = []  # number of the block, bytes more or less
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._note(_block(leaf))
        return out

    def _note(self, block: torch.UntypedStorage) -> None:
        address, size = block._cdata, block.nbytes()
        if address in self.blocks:
            return
        self.count += 1
        self.blocks[address] = self.count
        self.events.append((self.count, size))
        weakref.finalize(block, self._forget, address, self.count, size)

    def _forget(self, address: int, number: int, size: int) -> None:
        self.blocks.pop(address, None)
        self.events.append((number, -size))

    def peak(self, without: Iterable[Tensor]) -> int:
        """The most bytes alive at a time, those of some tensors left out."""
        ignored = {self.blocks.get(_block(tensor)._cdata) for tensor in without}
        live = most = 0
        for number, size in self.events:
            live += 0 if number in ignored else size
            most = max(most, live)
        return most


def _block(tensor: Tensor) -> torch.UntypedStorage:
    return tensor.untyped_storage()


def peak(module: torch.nn.Module, inputs: list[Tensor], loss: Callable[[], Tensor]) -> int:
    """The most bytes of activations alive at a time in one step, forwards and backwards."""
    loss().backward()  # what is set up once
    module.zero_grad()
    large, pool.LARGE = pool.LARGE, 1 << 62  # memory that is used again would not be seen
    with Live([*module.parameters(), *module.buffers(), *inputs]) as live:
        loss().backward()
    pool.LARGE = large
    return live.peak(p.grad for p in module.parameters() if p.grad is not None)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("rounds", 15), ("threads", 1), ("batch", 1024), ("width", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--depths", type=int, nargs="+", default=[8, 16, 32, 64])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    x = torch.randn(options.batch, options.width)
    models = {
        (depth, memory): diffeo.models.nsf((options.width,), layers=depth, memory=memory)
        for depth in options.depths
        for memory in ("store", "invert")
    }

    def loss(flow: diffeo.Flow) -> Tensor:
        return -flow.log_prob(x).mean()

    def step(flow: diffeo.Flow) -> float:
        flow.zero_grad()
        start = time.perf_counter()
        loss(flow).backward()
        return (time.perf_counter() - start) * 1e3

    memory = {
        key: peak(flow, [x], lambda flow=flow: loss(flow)) / 2**20 for key, flow in models.items()
    }
    times: dict[tuple[int, str], list[float]] = {key: [] for key in models}
    for _ in range(options.rounds):
        for key, flow in models.items():
            times[key].append(step(flow))
    print(
        f"torch {torch.__version__}, {options.threads} threads, batch {options.batch},"
        f" {options.width} columns\n"
    )
    print(
        "| layers | memory, stored | memory, inverted | time, stored | time, inverted | ratio of"
        " times |\n|" + "---|" * 6
    )
    for depth in options.depths:
        store, invert = times[depth, "store"], times[depth, "invert"]
        ratio = statistics.median(b / a for a, b in zip(store, invert, strict=True))
        print(
            f"| {depth} | {memory[depth, 'store']:.1f} MB | {memory[depth, 'invert']:.1f} MB |"
            f" {statistics.median(store):.0f} ms | {statistics.median(invert):.0f} ms |"
            f" {ratio:.2f} |"
        )


if __name__ == "__main__":
    main()
