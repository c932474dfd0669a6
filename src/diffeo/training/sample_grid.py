"""What the model draws, while it learns."""

from __future__ import annotations

from math import prod
from pathlib import Path

import torch
from torch import Tensor

from ..core.passes import passes
from ..core.seeds import seeder
from ..data import write_images
from ..domains.image import bits_of
from ..flow import Flow

__all__ = ["SampleGrid"]

ACROSS = 8  # tiles a row, and rows
CLASSES = 16  # at most so many have a column each
VALUES = 2**18  # of all tiles together: large images get fewer tiles


class SampleGrid:
    """Decodes the same noise at every call and writes `folder/samples/STEP.png`, to see the samples
    grow sharper.

    A conditional flow gets the `contexts` in turn, tile by tile; a few classes are one a column.
    """

    def __init__(
        self, flow: Flow, folder: Path, *, seed: int = 0, contexts: Tensor | None = None
    ) -> None:
        self.flow = flow
        self.folder = folder / "samples"
        self.seed = seed
        classes = len(contexts) if contexts is not None and contexts.dim() == 1 else CLASSES + 1
        self.across = ACROSS if classes > CLASSES else classes * max(1, ACROSS // classes)
        count = max(1, min(ACROSS * self.across, VALUES // prod(flow.event_shape)))
        generator = torch.Generator().manual_seed(seed)
        self.noise = flow.base.sample((count,), generator=generator)
        self.contexts = None if contexts is None else contexts[torch.arange(count) % len(contexts)]

    @torch.no_grad()
    def __call__(self, step: int) -> None:
        if self.flow.context_shape is not None and self.contexts is None:
            return  # a stream of batches: no contexts are known
        was_training = self.flow.training
        self.flow.eval()
        with seeder(self.flow)(self.seed):
            images = [
                self.flow.decode(z, c)[0].cpu()
                for z, c in passes(self.noise, self.contexts, self.across)
            ]
        self.flow.train(was_training)
        if images[0].dtype == torch.uint8 and images[0].shape[1] in (1, 3):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_images(
                self.folder / f"{step:07d}.png",
                torch.cat(images).numpy(),
                columns=self.across,
                bits=bits_of(self.flow) or 8,
            )
