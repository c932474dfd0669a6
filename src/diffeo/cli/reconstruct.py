"""`diffeo reconstruct`: images, and what comes back of them from latent space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .models import open_image_model
from .options import Data, Json, Labels, Model, Resize, Seed, Threads, use_threads
from .output import emit
from .requests import Rows
from .verbs import verbs_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..flow import Flow

__all__ = ["reconstruct"]


def reconstruct(
    model: Model,
    data: Data,
    *,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="A grid (.png) or the images (.npz).", show_default=False),
    ],
    n: Annotated[
        int, typer.Option("-n", "--number", min=1, help="Number of images, from the first.")
    ] = 8,
    labels: Labels = None,
    resize: Resize = None,
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Images, decode(encode(images)), and what the coarse scales alone keep of them.

    Rows from above: the images; from all latents; from the coarsest k scales, k falling, with the
    finer latents drawn anew. Example:  diffeo reconstruct model images/ -n 8 -o rows.png
    """
    import torch

    from ..data import write_images
    from .images import notes

    use_threads(threads)
    flow = open_image_model(model)
    asked = Rows(folder=model, data=data, labels=labels, resize=resize)
    x, context, _ = verbs_of(flow).read(flow, asked, first=n)
    rows = [x, *_rows(flow, x, context, seed=seed)]
    write_images(out, torch.cat(rows), columns=len(x), bits=notes(flow).bits or 8)
    same = float((rows[1] == x).double().mean())
    worst = int((rows[1].int() - x.int()).abs().max())
    result = {
        "rows": len(x),
        "scales": len(rows) - 1,
        "exact": same,
        "worst_level": worst,
        "out": str(out),
    }
    emit(
        result,
        json,
        [
            f"{same:.4%} of the pixels come back exactly, the worst is off by {worst} levels",
            f"grid in {out}",
        ],
    )


def _rows(flow: Flow, x: Tensor, context: Tensor | None, *, seed: int) -> list[Tensor]:
    from ..latents import reconstruct as rebuilt

    scales = len(flow.transform.parts(flow.event_shape))
    return [rebuilt(flow, x, context, keep=keep, seed=seed) for keep in range(scales, 0, -1)]
