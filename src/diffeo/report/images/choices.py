"""The choices behind a model of images, and how to use it."""

from __future__ import annotations

from dataclasses import asdict
from math import prod
from pathlib import Path
from shlex import quote

import numpy as np

from ...data import Images
from ...domains.image import bits_of, by_class, classes_of
from ...domains.recommend import recommend_images
from ...flow import Flow
from ...training import FitResult
from ..page.content import Fold, Grid, Part
from ..tables.choices import Advice, settings

__all__ = ["choices", "usage"]

ADVISED = ("batch_size", "lr", "weight_decay", "steps", "patience")
MOST_CLASSES = 1_000


def choices(flow: Flow, images: Images, result: FitResult, *, held: int) -> list[tuple[str, Part]]:
    """Titled tables: model, training, images, classes."""
    # either may have been asked for a recommendation
    sizes = (result.rows.get("train", 0), len(images))
    recommended = [asdict(recommend_images(max(1, n), prod(images.event_shape))) for n in sizes]
    advice = [
        Advice({k: one[k] for k in ADVISED}, usual="as recommended for so many images")
        for one in recommended
    ]
    classes: list[tuple[str, Part]] = (
        [] if images.labels is None else [("Classes", _classes(images))]
    )
    return [
        *settings(flow, result, advice),
        ("Images", _images(flow, images, result, held=held)),
        *classes,
    ]


def usage(folder: Path, flow: Flow, images: Images) -> tuple[str, str]:
    """Shell commands and Python lines that use the model in this folder."""
    name = quote(str(folder))
    bits = bits_of(flow)
    conditional = by_class(flow)
    given = f" --class {quote(images.classes[0])}" if conditional and images.classes else ""
    shell = [
        f"diffeo evaluate {name} images/ --importance 8        # held-out bits per dimension",
        f"diffeo sample {name} -n 64 -o samples.png --temperature 0.7{given}",
        f"diffeo interpolate {name} a.png b.png -o strip.png   # from one image to another",
        f"diffeo reconstruct {name} images/ -o r.png           # what the coarse scales determine",
    ]
    if bits is None:
        shell = [
            "# the command works on pixels of whole numbers: a model of real-valued images is used"
            " from Python"
        ]
    context = ""
    drawn = "flow.sample((64,), temperature=0.7)"
    if conditional:
        context = ", torch.tensor(images.labels)"
        drawn = f"flow.sample((), torch.arange({classes_of(flow) or 1}))  # one of each class"
    python = [
        "import diffeo, torch",
        f"flow = diffeo.load({str(folder)!r})",
        f"images = diffeo.read_images('images/'{'' if bits in (None, 8) else f', bits={bits}'})",
        f"log_p = flow.log_prob(torch.tensor(images.pixels){context})",
        f"samples = {drawn}",
    ]
    return "\n".join(shell), "\n".join(python)


def _images(flow: Flow, images: Images, result: FitResult, *, held: int) -> Grid:
    channels, height, width = images.event_shape
    rows = [
        ("read from", images.source),
        ("images in the source", f"{len(images):,}"),
        ("height × width", f"{height} × {width}"),
        ("colour", "grey" if channels == 1 else "RGB"),
        ("bits of a value", f"{images.bits}"),
        ("trained on", f"{result.rows.get('train', 0):,}"),
        ("held out", f"{held:,}"),
        ("seed of split, weights and batches", str(result.settings.get("seed", 0))),
    ]
    if images.labels is None:
        return Grid(("", "value"), [*rows, ("labels", "none")])
    return Grid(
        ("", "value"),
        [*rows, ("labels", "conditioned on" if by_class(flow) else "not used")],
    )


def _classes(images: Images) -> Fold:
    counts = np.bincount(
        images.labels if images.labels is not None else [], minlength=len(images.classes)
    )
    rows = [(name, f"{n:,}") for name, n in zip(images.classes, counts, strict=False)]
    return Fold(
        f"{len(images.classes):,} classes, and how many images each has",
        Grid(("class", "images"), rows[:MOST_CLASSES]),
    )
