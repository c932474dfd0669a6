"""What the verbs that work on images share: reading them as a model wants them, options, notes in
the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import ConfigError, DataError
from .batches import batches

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Images
    from ..data.images.note import ImageNote
    from ..flow import Flow
    from .requests import Draws

__all__ = [
    "class_numbers",
    "draw_images",
    "height_width",
    "notes",
    "one_image",
    "read_for",
    "tensors",
]


def notes(flow: Flow) -> ImageNote:
    """What a model remembers of its images; classes that were never named are called by their
    numbers.
    """
    from ..data.images.note import ImageNote
    from ..domains.image import bits_of, classes_of

    noted = flow.card.data
    if not isinstance(noted, ImageNote):
        noted = ImageNote()
    said = {
        "bits": noted.bits if "bits" in noted.model_fields_set else bits_of(flow),
        "classes": noted.classes or tuple(str(i) for i in range(classes_of(flow) or 0)),
    }
    return noted.model_copy(update=said)


def read_for(
    flow: Flow,
    source: Path,
    labels: Path | None = None,
    *,
    resize: str | None = None,
    need_labels: bool = True,
) -> Images:
    """Images as the model was trained on: colour, bits, size, class numbers. Raises `DataError`
    when they do not fit.
    """
    from ..data import read_images
    from ..domains.image import by_class

    noted = notes(flow)
    if noted.bits is None:
        raise ConfigError("this model is of real-valued images: use it from Python")
    conditional = by_class(flow)
    images = read_images(
        source,
        labels=labels,
        bits=noted.bits,
        resize=height_width(resize or noted.resize),
        colour="grey" if flow.event_shape[0] == 1 else "rgb",
        depth=noted.depth,
        classes=noted.classes if conditional and need_labels else None,
    )
    if images.event_shape != flow.event_shape:
        _, height, width = flow.event_shape
        found = "x".join(map(str, images.event_shape[1:]))
        raise DataError(
            f"{source}: images are {found}, the model's {height}x{width}: add --resize"
            f" {height}x{width}"
        )
    if conditional and need_labels and images.labels is None:
        raise DataError(
            f"{source}: no labels, which this class-conditional model needs: sort into sub-folders"
            " or give --labels"
        )
    return images


def tensors(images: Images, by_class: bool) -> tuple[Tensor, Tensor | None]:
    """Pixels, and class numbers for a class-conditional model."""
    pixels, labels = images.tensors()
    return pixels, labels if by_class else None


def one_image(
    flow: Flow, text: str, resize: str | None = None, *, class_: str | None = None
) -> tuple[Tensor, Tensor | None]:
    """One image (C, H, W) from a file, or `FILE:NUMBER`, the image of that number in a file or
    folder; and its class.

    A class-conditional model is given the class by name, or takes the image's label where it has
    one.
    """
    import torch

    from ..domains.image import by_class

    name, colon, number = text.rpartition(":")
    whole = Path(text).exists() or not (colon and _is_number(number))
    images = read_for(flow, Path(text if whole else name), resize=resize, need_labels=False)
    index = 0 if whole else int(number)
    if index >= len(images):
        raise ConfigError(f"{text}: there are {len(images):,} images, numbered from 0")
    if whole and len(images) > 1:
        raise ConfigError(
            f"{text}: holds {len(images):,} images: write {text}:NUMBER, counted from 0"
        )
    x = images.subset([index]).tensors()[0][0]
    if not by_class(flow):
        return x, None
    if class_ is None and images.labels is None:
        raise ConfigError(
            f"{text}: has no label, which this class-conditional model needs: add --class NAME"
        )
    label = (
        class_
        if class_ is not None or images.labels is None
        else images.classes[images.labels[index]]
    )
    return x, torch.tensor(class_numbers(flow, [str(label)])[0])


def draw_images(flow: Flow, draws: Draws) -> None:
    """Write images; of a class-conditional model the classes in turn, so that each column of a
    grid is one of them.
    """
    import torch

    from ..data import write_images
    from ..domains.image import by_class
    from ..training import rows_per_pass

    if draws.classes and not by_class(flow):
        raise ConfigError(
            "--class: this model is not class-conditional: train it with --context label"
        )
    noted, labels, columns = notes(flow), None, draws.columns
    if by_class(flow):
        wanted = torch.tensor(class_numbers(flow, draws.classes or noted.classes))
        labels = wanted[torch.arange(draws.n) % len(wanted)]
        columns = columns or len(wanted) * max(1, round(draws.n**0.5 / len(wanted)))
    generator, parts, start = torch.Generator().manual_seed(draws.seed), [], 0
    for count in batches(draws.n, rows_per_pass(flow.event_shape)):
        own = None if labels is None else labels[start : start + count]
        shape = (count,) if own is None else ()
        parts.append(flow.sample(shape, own, temperature=draws.temperature, generator=generator))
        start += count
    write_images(
        draws.out,
        torch.cat(parts),
        labels,
        classes=noted.classes,
        columns=columns,
        bits=noted.bits or 8,
    )


def class_numbers(flow: Flow, names: Sequence[str]) -> list[int]:
    """Class numbers by name; raises `ConfigError` naming the known ones."""
    known = list(notes(flow).classes)
    for name in names:
        if name not in known:
            raise ConfigError(f"--class {name}: the model's classes are {', '.join(known[:20])}")
    return [known.index(name) for name in names]


def height_width(text: str | None) -> tuple[int, int] | None:
    """`28x32` is (28, 32), `32` is (32, 32)."""
    if text is None:
        return None
    height, _, width = text.partition("x")
    if not (_is_number(height) and _is_number(width or height)):
        raise ConfigError(f"--resize {text}: write HEIGHTxWIDTH, such as --resize 32x32")
    return int(height), int(width or height)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
