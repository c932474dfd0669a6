"""The four real tables and their splits, the same for every contender; needs numpy and scikit-learn
only.
"""

from __future__ import annotations

import numpy as np
import sklearn.datasets
from numpy.typing import NDArray

Floats = NDArray[np.float64]
TABLES = ("breast_cancer", "wine", "diabetes", "patches")


def load(name: str) -> Floats:
    """Rows of a table. `patches`: 8x8 grey patches of scikit-learn's photographs, uniformly
    dequantised, in [0, 1], mean removed, last pixel dropped: 63 dimensions."""
    if name != "patches":
        return np.asarray(getattr(sklearn.datasets, f"load_{name}")().data)
    rng = np.random.default_rng(0)
    found = [_patches(image, 25_000, rng) for image in sklearn.datasets.load_sample_images().images]
    return np.concatenate(found)


def split(name: str, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    """Training, validation and test rows: 80, 10 and 10 per cent."""
    rows = load(name)
    order = np.random.default_rng(100 + seed).permutation(len(rows))
    tenth = len(rows) // 10
    return rows[order[2 * tenth :]], rows[order[tenth : 2 * tenth]], rows[order[:tenth]]


def _patches(image: NDArray[np.uint8], count: int, rng: np.random.Generator) -> Floats:
    grey = np.rint(image.astype(float) @ [0.299, 0.587, 0.114])
    rows = rng.integers(grey.shape[0] - 7, size=count)
    columns = rng.integers(grey.shape[1] - 7, size=count)
    cut = np.stack([grey[r : r + 8, c : c + 8] for r, c in zip(rows, columns, strict=True)])
    patches = ((cut + rng.random(cut.shape)) / 256).reshape(count, 64)
    return (patches - patches.mean(1, keepdims=True))[:, :-1]


# What every contender is given: the same layout, the same number of steps, batch, optimiser and
# schedule.
LAYOUT = {
    "breast_cancer": {"layers": 6, "hidden": 64, "steps": 600, "batch": 64},
    "wine": {"layers": 6, "hidden": 64, "steps": 600, "batch": 64},
    "diabetes": {"layers": 6, "hidden": 64, "steps": 600, "batch": 64},
    "patches": {"layers": 8, "hidden": 128, "steps": 1500, "batch": 512},
}
