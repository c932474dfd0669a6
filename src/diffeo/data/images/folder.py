"""Folders of image files: which files there are, in which order, and which class each belongs
to.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from ...core.errors import DataError
from ...core.files import refuse_special
from ..names import refuse_duplicates, shorten
from .pictures import SUFFIXES

__all__ = ["folder_classes", "labels_of_file", "list_images"]


def list_images(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """PNG and JPEG files below a folder, as sorted posix paths relative to it, and a note on files
    of other kinds.

    Hidden files and folders are left out.

    Raises `DataError` if there is none, naming files that there are instead.
    """
    files = list(_walk(folder, ()))
    images = [p for p in files if p.suffix.lower() in SUFFIXES]
    if images:
        rest = sorted(p.relative_to(folder).as_posix() for p in set(files) - set(images))
        notes = (
            (f"{len(rest):,} × another kind of file, not read: {shorten(rest, 3)}",) if rest else ()
        )
        return (
            tuple(p.relative_to(folder).as_posix() for p in sorted(images, key=lambda p: p.parts)),
            notes,
        )
    if files:
        others = shorten(sorted(p.relative_to(folder).as_posix() for p in files), 3)
        raise DataError(
            f"{folder}: no image in this folder, only {others}; add {', '.join(SUFFIXES)} files"
        )
    raise DataError(f"{folder}: the folder is empty; add {', '.join(SUFFIXES)} files")


def _walk(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Files below a folder, through links too; a link that leads back up is not followed."""
    real = folder.resolve()
    if real in above:
        return
    with os.scandir(folder) as entries:
        visible = [e for e in entries if not e.name.startswith(".")]
    for entry in visible:
        if entry.is_dir():
            yield from _walk(folder / entry.name, (*above, real))
        # that is named when it is opened; pipes are left alone
        elif entry.is_file() or _is_dead_link(entry):
            yield folder / entry.name


def _is_dead_link(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not os.path.exists(entry.path)


def folder_classes(folder: Path, names: Sequence[str]) -> list[str] | None:
    """The first sub-folder of each file, its class; None if no file is in one. Raises `DataError`
    for a mixture.
    """
    flat = [n for n in names if "/" not in n]
    if len(flat) == len(names):
        return None
    if flat:
        nested = next(n for n in names if "/" in n)
        raise DataError(
            f"{folder}: holds images both beside ({flat[0]!r}) and in ({nested!r}) its class"
            " folders; move all of them into class folders or none, or name a CSV file"
            " (file,label) as labels"
        )
    return [n.split("/", 1)[0] for n in names]


def labels_of_file(table: Path, names: Sequence[str]) -> list[str]:
    """The label of each named file, from a CSV file with columns `file` (relative path) and
    `label`.

    Raises `DataError` if a file has no row or two, or a row no file.
    """
    known = set(names)
    labels: dict[str, str] = {}
    for line, file, label in _rows(table):
        name = PurePosixPath(file).as_posix()
        if name not in known:
            raise DataError(
                f"{table}: line {line} names {file!r}, which is no image of the folder; remove or"
                " mend the line"
            )
        if name in labels:
            raise DataError(
                f"{table}: line {line} names {file!r} a second time; remove one of the lines"
            )
        labels[name] = label
    missing = [n for n in names if n not in labels]
    if missing:
        raise DataError(
            f"{table}: {len(missing):,} images have no line, such as {missing[0]!r}; add file,label"
            " for each"
        )
    return [labels[n] for n in names]


def _rows(table: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, file and label of each row."""
    try:
        refuse_special(table)
        with table.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text)
            if not {"file", "label"} <= set(reader.fieldnames or ()):
                columns = shorten(list(reader.fieldnames or ()), 5) or "none"
                raise DataError(
                    f"{table}: needs the columns file,label and has {columns}; name them in its"
                    " first line"
                )
            refuse_duplicates(str(table), list(reader.fieldnames or ()))
            for row in reader:
                if None in row:
                    raise DataError(
                        f"{table}: line {reader.line_num} has more fields than the first line;"
                        " mend it"
                    )
                file, label = ((row[k] or "").strip() for k in ("file", "label"))
                if not file or not label:
                    raise DataError(
                        f"{table}: line {reader.line_num} lacks a file or a label; complete or"
                        " remove it"
                    )
                yield reader.line_num, file, label
    except OSError as e:
        raise DataError(
            f"{table}: cannot be read ({e.strerror or e}); check the path of the labels"
        ) from e
    except (UnicodeDecodeError, csv.Error) as e:
        raise DataError(
            f"{table}: is no CSV file in UTF-8 ({e}); write it with columns file,label"
        ) from e
