"""The images that a report is about: chosen, scored and encoded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.errors import DataError
from ...core.passes import passes
from ...core.seeds import seeder
from ...data import Images, read_images
from ...domains.image import bits_of, by_class, labels_for
from ...flow import Flow
from ...training import FitResult, rows_per_pass
from ..tables.rows import Numbers, noise_seed, parted, some

__all__ = ["Scored", "collect", "training_pixels"]

Floats = NDArray[np.float64]
MOST = 2_000  # images scored
FEWEST = 100  # and no fewer, except where `FEW_VALUES` are fewer
FEW_VALUES = 2**25  # values of images scored whatever their size: their latents take 128 MB
HELD_OUT = 3_100_000  # values scored for the headline: all of 1,000 images of 3×32×32, some seconds
TRAINING = 800_000  # values of training images scored beside them
COUNTED = 50_000_000  # values that the histograms are fitted on, a second or two
COUNTED_AT_MOST = 2**28  # of large images as well: as many bytes


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Some images with their contexts, log-densities (N,) in nats, latents (N, D), and where they
    stood in the source.
    """

    images: Images
    context: Tensor | None
    index: Numbers
    log_prob: Floats
    z: NDArray[np.float32]
    total: int
    """How many images there were to choose from."""
    what: str
    """`held-out` or `training`."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def tensor(self) -> Tensor:
        """The pixels (N, C, H, W) uint8."""
        return self.images.tensors()[0]

    @property
    def bits(self) -> Floats:
        """−log2 p per dimension (N,)."""
        return -self.log_prob / self.per_bit

    @property
    def per_bit(self) -> float:
        """Nats per image that make one bit per dimension."""
        return math.log(2) * math.prod(self.images.event_shape)


def collect(
    flow: Flow, images: Images, result: FitResult, *, held_out: Images | None, seed: int
) -> tuple[Scored, Scored | None, Numbers]:
    """A sample of training images, held-out images (None when there are none), and the numbers of
    all training images.

    Raises `DataError` when the images lack labels that the flow needs, or have values that it does
    not know.
    """
    train, (source, held) = parted(
        images, result, None if held_out is None else _renumbered(flow, held_out, images)
    )
    size = math.prod(images.event_shape)
    training = _measure(
        flow,
        images,
        some(train, _limit(TRAINING, size, 1_000), seed),
        total=len(train),
        what="training",
        result=result,
    )
    if not len(held):
        return training, None, train
    chosen = some(held, _limit(HELD_OUT, size, MOST), seed)
    return (
        training,
        _measure(flow, source, chosen, total=len(held), what="held-out", result=result),
        train,
    )


def training_pixels(images: Images, train: Numbers, seed: int) -> NDArray[np.uint8]:
    """Training images (N, D), as many as take seconds to count."""
    size = math.prod(images.event_shape)
    chosen = some(train, max(1, COUNTED // size, min(MOST, COUNTED_AT_MOST // size)), seed)
    return images.subset(chosen).pixels.reshape(len(chosen), size)


def _renumbered(flow: Flow, held_out: Images, images: Images) -> Images:
    """Held-out images whose labels are numbered as those of the training images."""
    if not by_class(flow) or held_out.labels is None or held_out.classes == images.classes:
        return held_out
    return read_images(held_out, classes=images.classes)


def _limit(values: int, size: int, most: int) -> int:
    """How many images of `size` values each make about so many values."""
    fewest = max(2, min(FEWEST, FEW_VALUES // size))
    return max(fewest, min(values // size, most))


@torch.no_grad()
def _measure(
    flow: Flow, images: Images, index: Numbers, *, total: int, what: str, result: FitResult
) -> Scored:
    """As validation in training does it: the same noise, drawn for the same passes."""
    chosen = images.subset(index)
    _check(flow, chosen)
    context = labels_for(flow, chosen)
    size = int(result.settings.get("eval_rows") or rows_per_pass(flow.event_shape))
    x, _ = chosen.tensors()
    logs: list[Tensor] = []
    latents: list[Tensor] = []
    flow.eval()
    with seeder(flow)(noise_seed(result)):
        for part, context_part in passes(x, context, size):
            z, logdet = flow.encode(part, context_part)
            logs.append(flow.base.log_prob(z).to(logdet.dtype) + logdet)
            latents.append(z.flatten(1).float().cpu())
    log_prob: Any = torch.cat(logs).double().cpu().numpy()
    log_prob[np.isnan(log_prob)] = -np.inf
    return Scored(
        images=chosen,
        context=context,
        index=index,
        log_prob=log_prob,
        z=torch.cat(latents).numpy(),
        total=total,
        what=what,
    )


def _check(flow: Flow, images: Images) -> None:
    bits = bits_of(flow)
    top = int(images.pixels.max(initial=0))
    if bits is not None and top >= 2**bits:
        raise DataError(
            f"{images.source}: holds the value {top}, but the model is of {bits}-bit images; read"
            f" with bits={bits}"
        )
