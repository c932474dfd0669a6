"""Pixels as pictures on the page."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...data.images.write import grid
from ..page.canvas import data_uri
from ..page.content import Card

__all__ = ["as_pixels", "blank", "course", "tiles"]

Pixels = NDArray[np.uint8]
LIGHT = 232 / 255  # of the ground of a grid
SHOWN = 6  # pictures of the course of training
CROPPED = 4  # tiles across, and down, in each of them
# pixels of a picture: what is larger is scaled down, for the page is at most 1,040 wide
WIDEST = 1_200


def tiles(pixels: Pixels, bits: int, columns: int) -> str:
    """Images (N, C, H, W) as a grid, as a data URI."""
    return _uri(grid(pixels, columns, bits=bits))


def as_pixels(events: Any, bits: int) -> Pixels:
    """What a flow drew as pixels: of a real-valued one rounded, and whatever lies outside brought
    to the nearest value.
    """
    pixels: Pixels = (
        torch.as_tensor(events)
        .cpu()
        .nan_to_num(0.0)
        .round()
        .clamp(0, 2**bits - 1)
        .to(torch.uint8)
        .numpy()
    )
    return pixels


def blank(shape: Sequence[int], bits: int) -> Pixels:
    """An image that is lost on the ground of a grid, to fill up a row."""
    return np.full(shape, round(LIGHT * (2**bits - 1)), np.uint8)


def course(folder: Path, steps: Sequence[int], shape: Sequence[int]) -> list[Card]:
    """Some of the pictures that training left in `folder/samples/STEP.png` at these steps, the
    first and the last among them.
    """
    paths = {
        int(path.stem): path for path in (folder / "samples").glob("*.png") if path.stem.isdecimal()
    }
    known = sorted(paths.keys() & set(steps))
    cards = [(known[i], _cropped(paths[known[i]], shape)) for i in _spread(len(known))]
    return [
        Card(f"step {step:,}", uri, alt="samples in training")
        for step, uri in cards
        if uri is not None
    ]


def _spread(count: int) -> Iterator[int]:
    """At most `SHOWN` of the numbers below `count`, from first to last, denser at first, when most
    happens.
    """
    for k in range(min(SHOWN, count)):
        yield k if count <= SHOWN else max(k, int((count - 1) * (k / (SHOWN - 1)) ** 2 + 0.5))


def _cropped(path: Path, shape: Sequence[int]) -> str | None:
    """The first tiles of a picture that training left; None when it is no picture."""
    from PIL import Image

    # of a tile and the 2 pixels between two
    high, wide, _ = grid(np.zeros((1, *shape), np.uint8), pad=1).shape
    try:
        with Image.open(path) as picture:
            size = min(picture.width, CROPPED * wide + 2), min(picture.height, CROPPED * high + 2)
            return _uri(np.asarray(picture.convert("RGB").crop((0, 0, *size))), WIDEST // 3)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _uri(picture: Pixels, widest: int = WIDEST) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    image = Image.fromarray(picture)
    image.thumbnail((widest, image.height))
    image.save(buffer, format="PNG", optimize=True)
    return data_uri("png", buffer.getvalue())
