"""diffeo: normalizing flows from coupling layers.

Names are imported on first use, so `import diffeo` and `diffeo --help` start at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.2.0"

# name -> module that defines it
_NAMES = {
    "Chain": "core.chain",
    "Distribution": "core.distribution",
    "Flow": "flow",
    "FlowEstimator": "estimator",
    "Inverse": "core.transform",
    "Transform": "core.transform",
    "check": "checkup",
    "fit": "training.fit",
    "infer": "inference.infer",
    "load": "store",
    "read_images": "data",
    "read_table": "data",
    "save": "store",
}
_ROOMS = (
    "bases",
    "conditioners",
    "data",
    "inference",
    "latents",
    "layers",
    "maps",
    "models",
    "partitions",
    "training",
)

__all__ = [*sorted([*_NAMES, *_ROOMS])]

if TYPE_CHECKING:
    from . import (
        bases,
        conditioners,
        data,
        inference,
        latents,
        layers,
        maps,
        models,
        partitions,
        training,
    )
    from .checkup import check
    from .core.chain import Chain
    from .core.distribution import Distribution
    from .core.transform import Inverse, Transform
    from .data import read_images, read_table
    from .estimator import FlowEstimator
    from .flow import Flow
    from .inference.infer import infer
    from .store import load, save
    from .training.fit import fit


def __getattr__(name: str) -> object:
    if name in _NAMES:
        return getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
    if name in _ROOMS:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
