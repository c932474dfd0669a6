"""From whatever the caller holds (a folder, a file, an array) to pixels and labels as they come."""

from __future__ import annotations

import contextlib
import os
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import DataError
from ...core.files import refuse_special
from .arrays import read_array_file, shapes_in
from .cache import Recipe, decoded
from .folder import folder_classes, labels_of_file, list_images
from .idx import is_idx, labels_beside, read_idx
from .labels import label_values
from .pictures import SUFFIXES, decode, depth_of, notes_on, quiet, read_header
from .pixels import Pixels, channels_first

__all__ = ["DIGITS", "Options", "Raw", "open_images", "path_looks"]

DIGITS = "sklearn:digits"
KINDS = "a folder, .png, .jpg, .npy, .npz, an IDX file (plain or .gz) or sklearn:digits"


@dataclass
class Raw:
    """What a source gave: pixels (N, C, H, W), labels as they come, and `bits` and `classes` only
    if it declares them.
    """

    source: str
    pixels: Pixels
    _: KW_ONLY
    values: Any = None
    bits: int | None = None
    classes: tuple[str, ...] | None = None
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the caller asked for, checked."""

    labels: Any
    bits: int | None
    size: tuple[int, int] | None
    colour: str | None
    cache: Path | None
    depth: int | None = None


def open_images(source: Any, options: Options) -> Raw:
    """The images of a path, array or tensor. Folders and single files come in the wanted colour,
    size and depth.
    """
    if isinstance(source, (str, os.PathLike)) and str(source).startswith("sklearn:"):
        return _chosen(_digits(str(source)), options)
    if isinstance(source, (str, os.PathLike)):
        return _read_path(Path(source), options)
    if hasattr(source, "detach"):
        if (
            source.is_sparse
            or source.is_complex()
            or not hasattr(np, str(source.dtype).split(".")[-1])
        ):
            raise DataError(
                f"tensor: pixels of type {source.dtype}, {source.layout}; give a dense tensor of"
                " uint8"
            )
        return Raw("tensor", channels_first("tensor", source.detach().cpu().numpy()))
    if isinstance(source, np.ndarray):
        return Raw("array", channels_first("array", source))
    raise DataError(
        f"cannot read images from a {type(source).__name__}; give {KINDS}, or an array or tensor of"
        " uint8"
    )


def _digits(source: str) -> Raw:
    from sklearn.datasets import load_digits

    if source != DIGITS:
        raise DataError(f"{source}: no such data set of images; there is {DIGITS}")
    data = load_digits()
    return Raw(source, data.images.astype(np.uint8)[:, None], values=data.target, bits=5)


def _read_path(path: Path, options: Options) -> Raw:
    try:
        if path.is_dir():
            return _folder(path, options)
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; check the path")
        refuse_special(path)
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty; replace or remove it")
        with path.open("rb"):
            pass
    except OSError as e:
        raise DataError(
            f"{e.filename or path}: cannot be read ({e.strerror or e}); check it and its"
            " permissions"
        ) from e
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return _single(path, options)
    if suffix in (".npy", ".npz"):
        stored = read_array_file(path)
        values = None if stored.labels is None else label_values(str(path), stored.labels)
        pixels = channels_first(str(path), stored.images)
        raw = Raw(
            str(path),
            pixels,
            values=values,
            bits=stored.bits,
            classes=stored.classes,
            notes=stored.notes,
        )
        return _chosen(raw, options)
    if is_idx(path) or "idx" in path.name:
        beside = labels_beside(path) if options.labels is None else None
        pixels = channels_first(str(path), read_idx(path, (3, 4)))
        return Raw(
            str(path),
            pixels,
            values=None if beside is None else label_values(str(path), beside),
            bits=8,
        )
    raise DataError(f"{path}: no images in a known format; give {KINDS}")


def _chosen(raw: Raw, options: Options) -> Raw:
    """Labels given by the caller go before those of the file, and its names of classes are for its
    own.
    """
    return raw if options.labels is None else replace(raw, values=None, classes=None)


def _folder(path: Path, options: Options) -> Raw:
    names, left = list_images(path)
    values = (
        folder_classes(path, names) if options.labels is None else _table(options.labels, names)
    )
    depth = options.bits or 8
    recipe = Recipe(colour=options.colour, size=options.size, shift=8 - depth, depth=options.depth)
    pixels, notes = decoded(path, names, recipe, cache=options.cache)
    return Raw(
        str(path), pixels, values=values, bits=depth, classes=None, names=names, notes=left + notes
    )


def _table(labels: Any, names: tuple[str, ...]) -> list[str] | None:
    """Labels from a CSV file, if that is what `labels` is."""
    named = isinstance(labels, (str, os.PathLike)) and str(labels).lower().endswith(".csv")
    return labels_of_file(Path(labels), names) if named else None


def _single(path: Path, options: Options) -> Raw:
    with quiet():
        header = read_header(path)
        colour = options.colour or ("grey" if header.grey else "rgb")
        depth = depth_of([path], [header], options.depth)
        pixels = decode(path, colour, size=options.size, bits=depth)[None]
    return Raw(
        str(path),
        pixels,
        values=_table(options.labels, (path.name,)),
        bits=8,
        notes=notes_on([header], depth),
    )


def path_looks(path: Path) -> bool:
    """True if a path is for images, by its name and header. Raises `DataError` for pipes and
    devices.
    """
    with contextlib.suppress(OSError):  # worded by whoever opens it
        refuse_special(path)
    suffix = path.suffix.lower()
    if path.is_dir() or suffix in SUFFIXES:
        return True
    if suffix not in (".npy", ".npz"):
        return is_idx(path, (3, 4))
    try:
        shapes = shapes_in(path)
    except DataError:
        return False
    return "images" in shapes or (
        not {"x", "data"} & set(shapes) and any(len(s) in (3, 4) for s in shapes.values())
    )
