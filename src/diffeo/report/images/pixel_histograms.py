"""The baseline of images: independent pixels, each with a histogram of its values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["independent_pixels"]

BLOCK = 2**22  # counts, or values, held at a time


def independent_pixels(
    train: NDArray[np.uint8], asked: NDArray[np.uint8], levels: int
) -> NDArray[np.float64]:
    """log Π_d (count_d(x_d) + 1) / (N + levels) in nats (M,), exact probabilities of images `asked`
    (M, D).

    count_d(v) says how many of the training images `train` (N, D) have value v in pixel d; one more
    is added for every value (Laplace), so that none is impossible. Values lie in 0 .. levels − 1.

    >>> train, test = np.array([[0], [0], [1]], np.uint8), np.array([[0], [3]], np.uint8)
    >>> independent_pixels(train, test, 4).round(4)
    array([-0.8473, -1.9459])
    """
    total = np.zeros(len(asked))
    width = max(1, BLOCK // max(levels, len(train), len(asked)))
    for start in range(0, train.shape[1], width):
        part = slice(start, start + width)
        total += _block(train[:, part], asked[:, part], levels)
    return total


def _block(train: NDArray[np.uint8], asked: NDArray[np.uint8], levels: int) -> NDArray[np.float64]:
    columns = train.shape[1]
    offsets = np.arange(columns) * levels  # the counts of all pixels in one row, pixel by pixel
    counts = np.bincount((train + offsets).ravel(), minlength=columns * levels)
    log_probs: NDArray[np.float64] = np.log(
        (counts[asked + offsets] + 1) / (len(train) + levels)
    ).sum(1)
    return log_probs
