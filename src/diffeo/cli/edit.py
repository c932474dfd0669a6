"""`diffeo edit`: more or less of an attribute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import ConfigError
from .models import open_image_model
from .options import Data, Json, Labels, Model, Resize, Seed, Threads, use_threads
from .output import emit

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Images

__all__ = ["edit"]


def edit(
    model: Model,
    data: Data,
    *,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="A grid (.png) or the images (.npz).", show_default=False),
    ],
    toward: Annotated[
        str, typer.Option(help="Label to move the images toward.", show_default=False)
    ],
    away: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Label to move them away from (default: all others).",
            show_default=False,
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="Number of images to edit.")] = 8,
    strengths: Annotated[
        str, typer.Option(help="Strengths of the edit: 0 none, 1 from one mean to the other.")
    ] = "-0.5,0,0.5,1,1.5",
    labels: Labels = None,
    resize: Resize = None,
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Move images along the direction between the mean latents of two labels (Glow's manipulation,
    arXiv:1807.03039).

    DATA are labelled images: the direction is computed from all of them, and the first N that do
    not have the label are edited, one a line. The model must not be class-conditional. Example:

      diffeo edit model t10k-images-idx3-ubyte.gz --toward 8 --from 3 -o edit.png
    """
    import torch

    from ..data import write_images
    from ..latents import attribute_direction
    from ..latents import edit as move
    from .images import notes, read_for, tensors

    use_threads(threads)
    flow = open_image_model(model)
    if flow.context_shape is not None:
        raise ConfigError(
            f"{model}: its latents are without the class, which it is given: train one without"
            " --context label"
        )
    images = read_for(flow, data, labels, resize=resize)
    has, wanted = _masks(images, toward, away)
    x, _ = tensors(images, False)
    chosen = x[has | wanted]
    direction = attribute_direction(flow, chosen, has[has | wanted], seed=seed)
    some = x[wanted][:n]
    moved = move(flow, some, direction, strengths=_numbers(strengths), seed=seed)
    count = moved.shape[1] + 1
    write_images(
        out,
        torch.cat([some[:, None], moved], 1).flatten(0, 1),
        columns=count,
        bits=notes(flow).bits or 8,
    )
    words = f"{len(some)} images, each as it is and at {count - 1} strengths, in {out}"
    emit({"rows": len(some), "strengths": count - 1, "out": str(out)}, json, [words])


def _masks(images: Images, toward: str, away: str | None) -> tuple[Tensor, Tensor]:
    """Which images have the label, and which are to be edited."""
    import torch

    if images.labels is None:
        raise ConfigError(
            f"{images.source}: no labels: sort the files into sub-folders, or give --labels FILE"
        )
    for name in (toward, away):
        if name is not None and name not in images.classes:
            raise ConfigError(
                f"{images.source}: no label {name!r}: there are {', '.join(images.classes[:20])}"
            )
    numbers = torch.tensor(images.labels)
    has = numbers == images.classes.index(toward)
    return has, ~has if away is None else numbers == images.classes.index(away)


def _numbers(text: str) -> Tensor:
    import torch

    try:
        numbers = torch.tensor([float(part) for part in text.split(",")])
    except ValueError:
        numbers = torch.tensor([torch.nan])
    if not bool(numbers.isfinite().all()):
        raise ConfigError(f"--strengths {text}: write numbers with commas between, such as -1,0,1")
    return numbers
