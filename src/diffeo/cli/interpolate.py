"""`diffeo interpolate`: from one image to another through latent space."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .models import open_image_model
from .options import Json, Model, Resize, Seed, Threads, use_threads
from .output import emit

__all__ = ["interpolate"]

Ends = Annotated[
    str,
    typer.Argument(
        help="An image file, or FILE:NUMBER for one of many (.npz, IDX, a folder), counted from 0."
    ),
]


def interpolate(
    model: Model,
    a: Ends,
    b: Ends,
    *,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="A strip (.png) or the images (.npz).", show_default=False
        ),
    ],
    steps: Annotated[int, typer.Option(min=2, help="Number of images, both ends included.")] = 9,
    class_: Annotated[
        str | None,
        typer.Option(
            "--class",
            help="Class of both ends, for a class-conditional model (default: A's).",
            show_default=False,
        ),
    ] = None,
    resize: Resize = None,
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """A strip of images from A to B along the great circle between their latents.

    A class-conditional model encodes and decodes all of them as one class. Examples:

      diffeo interpolate model cat.png dog.png -o strip.png

      diffeo interpolate model t10k-images-idx3-ubyte.gz:0 t10k-images-idx3-ubyte.gz:7 -o strip.png
    """
    from ..data import write_images
    from ..latents import interpolate as walk
    from .images import notes, one_image

    use_threads(threads)
    flow = open_image_model(model)
    first, context = one_image(flow, a, resize, class_=class_)
    last, _ = one_image(
        flow, b, resize, class_=notes(flow).classes[int(context)] if context is not None else None
    )
    strip = walk(flow, first, last, steps=steps, context=context, seed=seed)
    write_images(out, strip, columns=steps, bits=notes(flow).bits or 8)
    emit({"rows": steps, "out": str(out)}, json, [f"{steps} images in {out}"])
