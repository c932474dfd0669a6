"""What the model draws, beside what it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ... import latents
from ...data import Images
from ...domains.image import by_class, classes_of
from ...flow import Flow
from ...training import FitResult
from ..page.content import Card, Cards, Heading, Part, Words, truncated
from ..tables.rows import Numbers, some
from .pictures import as_pixels, blank, course, tiles

__all__ = ["samples"]

Pixels = NDArray[np.uint8]
COOL = 0.7  # the lower temperature
WIDTH = 320  # pixels that a grid has on the page
MOST_CLASSES = 12


def samples(
    folder: Path,
    flow: Flow,
    images: Images,
    *,
    result: FitResult,
    train: Numbers,
    bits: int,
    seed: int,
) -> list[Part]:
    """Grids of training images and of samples at two temperatures, and the course of training."""
    across = int(np.clip(WIDTH // max(40, *images.event_shape[1:]), 3, 8))
    shown = None if not by_class(flow) else _classes(flow, images)
    real = _training(images, train, across, shown=shown, bits=bits, seed=seed)
    drawn = [
        _draw(flow, across, shown, bits=bits, temperature=temperature, seed=seed)
        for temperature in (1.0, COOL)
    ]
    cards = [
        Card(name, tiles(pixels, bits, across), alt=name)
        for name, pixels in zip(
            ("training images", "samples, temperature 1", f"samples, temperature {COOL}"),
            [real, *drawn],
            strict=True,
        )
    ]
    words = [
        f"Samples at both temperatures start from the same noise, scaled down at {COOL}: more"
        " typical, less varied."
    ]
    if shown is not None:
        words.append(
            "Classes row by row:"
            f" {', '.join(truncated(_name(images, k), 30) for k in shown)}{_omitted(flow, shown)}."
        )
    return [Words(words), Cards(cards, "tiles"), *_course(folder, images, result)]


def _classes(flow: Flow, images: Images) -> list[int]:
    """The classes shown: all, or some from first to last."""
    count = _count(flow, images)
    return sorted({round(float(k)) for k in np.linspace(0, count - 1, min(count, MOST_CLASSES))})


def _count(flow: Flow, images: Images) -> int:
    return int(classes_of(flow) or len(images.classes))


def _omitted(flow: Flow, shown: Sequence[int]) -> str:
    count = classes_of(flow) or len(shown)
    return f" ({len(shown)} of {count:,} classes)" if count > len(shown) else ""


def _name(images: Images, label: int) -> str:
    return images.classes[label] if label < len(images.classes) else str(label)


def _training(
    images: Images, train: Numbers, across: int, *, shown: list[int] | None, bits: int, seed: int
) -> Pixels:
    """Training images for a grid: as chosen by seed, or one row for each class, filled up where it
    has fewer.
    """
    if shown is None or images.labels is None:
        return np.asarray(images.subset(some(train, across**2, seed)).pixels)
    labels = np.asarray(images.labels)[train]
    rows = []
    for label in shown:
        pixels = images.subset(some(train[labels == label], across, seed)).pixels
        rows += [
            pixels,
            np.repeat(blank(images.event_shape, bits)[None], across - len(pixels), 0),
        ]
    return np.concatenate(rows)


@torch.no_grad()
def _draw(
    flow: Flow, across: int, shown: list[int] | None, *, bits: int, temperature: float, seed: int
) -> Pixels:
    contexts = None if shown is None else torch.tensor(shown).repeat_interleave(across)
    count = across**2 if contexts is None else len(contexts)
    z = flow.base.sample(
        (count,), temperature=temperature, generator=torch.Generator().manual_seed(seed)
    )
    return as_pixels(latents.decode_all(flow, z, contexts), bits)


def _course(folder: Path, images: Images, result: FitResult) -> list[Part]:
    steps = [int(line["step"]) for line in result.history if "step" in line]
    cards = course(folder, steps, images.event_shape)
    if len(cards) < 2:
        return []
    words = (
        "The same noise at every step, as training drew it into the folder samples: its first"
        " tiles."
    )
    return [Heading("The course of training"), Words([words]), Cards(cards, "small")]
