"""Saving and loading models: a folder of safetensors and JSON, nothing that can run code.

`model.safetensors` holds the weights, `config.json` the format version, the model's name and arguments, the column
schema and a training summary, `manifest.json` the sha256 of both. A crash while saving over an older model leaves
either the old or the new one loadable: files are found by their hash under `name` or `name.new`.
"""

from __future__ import annotations

import json
import os
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from . import __version__
from .core.errors import DiffeoError, StoreError
from .core.files import atomic, fsync_folder, sha256, write_atomic
from .core.memory import out_of_memory
from .flow import Flow
from .models import MODELS

__all__ = ["Config", "load", "read_config", "save"]

FORMAT = 1
WEIGHTS, CONFIG, MANIFEST = "model.safetensors", "config.json", "manifest.json"
MAX_JSON = 64 << 20  # bytes; 100,000 columns with long names fit
MAX_VALUES = 2**27  # of an image: one of 3 × 6,600 × 6,600
COUNTS = ("layers", "steps", "blocks", "depth", "noise", "scales")  # of things with weights of their own
M = TypeVar("M", bound=pydantic.BaseModel)


class Config(pydantic.BaseModel, extra="forbid", frozen=True):
    """What `config.json` says."""

    format: int
    diffeo: str
    model: str | None
    args: dict[str, Any]
    metadata: dict[str, Any] = {}


class Manifest(pydantic.BaseModel, extra="forbid", frozen=True):
    """What `manifest.json` says: the sha256 of each file."""

    format: int
    files: dict[str, str]


def save(flow: Flow, folder: str | Path) -> Path:
    """Write a flow to a folder, atomically, over an older model if there is one; returns the folder.

    Flows from `diffeo.models` load again by name; one built by hand is loaded with `load(folder, into=flow)`. Raises
    `StoreError` when the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(flow, folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise StoreError(f"{folder}: cannot save the model ({reason}); a model that was there is kept") from None
    return folder


def load(folder: str | Path, *, into: Flow | None = None, device: str | torch.device = "cpu") -> Flow:
    """Read a flow from a folder made by `save`. No pickle, no import by name: models are looked up in `MODELS`.

    Raises `StoreError`, in one line, when the folder is missing, damaged, truncated, oversized, hostile or of a newer
    format.

    >>> import diffeo, tempfile
    >>> folder = diffeo.save(diffeo.models.nsf((2,), layers=2), tempfile.mkdtemp())
    >>> diffeo.load(folder).event_shape
    (2,)
    """
    folder = Path(folder)
    files = _files(folder)
    config = _config(files[CONFIG])
    shapes = _tensor_shapes(files[WEIGHTS])
    flow = into if into is not None else _build(config, shapes, folder)
    _compare(flow, shapes, folder)
    with safe_open(files[WEIGHTS], framework="pt") as file:
        flow.load_state_dict({name: file.get_tensor(name) for name in shapes})
    flow.metadata = dict(config.metadata)
    return flow.to(device).eval()


def read_config(folder: str | Path) -> Config:
    """What `config.json` of a model folder says, without building the model; raises `StoreError` as `load` does."""
    return _config(_files(Path(folder))[CONFIG])


def _write(flow: Flow, folder: Path) -> None:
    _settle(folder)
    recipe = flow.recipe or {"model": None, "args": {}}
    config = Config(format=FORMAT, diffeo=__version__, metadata=flow.metadata, **recipe)
    tensors = {name: t.detach().cpu().contiguous() for name, t in flow.state_dict().items()}
    with atomic(folder / f"{WEIGHTS}.new") as temporary:
        save_file(tensors, temporary)
    write_atomic(folder / f"{CONFIG}.new", config.model_dump_json(indent=1).encode())
    hashes = {name: sha256(folder / f"{name}.new") for name in (WEIGHTS, CONFIG)}
    # From here on the new model is what `load` finds; before, it is the old one.
    write_atomic(folder / f"{MANIFEST}.new", Manifest(format=FORMAT, files=hashes).model_dump_json(indent=1).encode())
    for name in (WEIGHTS, CONFIG, MANIFEST):
        os.replace(folder / f"{name}.new", folder / name)
    fsync_folder(folder)


def _settle(folder: Path) -> None:
    """Finish an earlier save that a crash cut short after its manifest was written, or clear what is left of one."""
    try:
        complete = (folder / f"{MANIFEST}.new").is_file() and bool(_listed(folder, _json(folder / f"{MANIFEST}.new", Manifest)))
    except StoreError:
        complete = False
    for name in (WEIGHTS, CONFIG, MANIFEST):
        left = folder / f"{name}.new"
        if left.exists():
            left.replace(folder / name) if complete else left.unlink()


def _files(folder: Path) -> dict[str, Path]:
    """The files of the newest complete model in a folder."""
    if not folder.is_dir():
        raise StoreError(f"{folder}: no such model folder; `diffeo fit DATA --out {folder}` makes one")
    manifests = [folder / f"{MANIFEST}.new", folder / MANIFEST]
    if not any(path.is_file() for path in manifests):
        raise StoreError(f"{folder}: no {MANIFEST} in it, so it is not a model folder or its training has not finished")
    problem = ""
    for path in manifests:
        if path.is_file():
            try:
                return _listed(folder, _json(path, Manifest))
            except StoreError as error:
                problem = str(error)
    raise StoreError(problem)


def _listed(folder: Path, manifest: Manifest) -> dict[str, Path]:
    if manifest.format > FORMAT:
        raise StoreError(f"{folder}: made by a newer diffeo (format {manifest.format}, this one reads {FORMAT}): upgrade")
    if set(manifest.files) != {WEIGHTS, CONFIG}:
        raise StoreError(f"{folder}/{MANIFEST}: must list {WEIGHTS} and {CONFIG} and nothing else")
    found = {}
    for name, digest in manifest.files.items():
        options = [folder / f"{name}.new", folder / name]
        match = next((p for p in options if p.is_file() and not p.is_symlink() and sha256(p) == digest), None)
        if match is None:
            raise StoreError(f"{folder}/{name}: missing or damaged (its sha256 is not the one in {MANIFEST})")
        found[name] = match
    return found


def _json(path: Path, model: type[M]) -> M:
    try:
        if path.stat().st_size > MAX_JSON:
            raise StoreError(f"{path}: larger than {MAX_JSON >> 20} MiB, refused")
        return model.model_validate_json(path.read_bytes())
    except (OSError, pydantic.ValidationError, RecursionError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, pydantic.ValidationError) else str(error)
        raise StoreError(f"{path}: damaged or not written by diffeo: {reason.splitlines()[0]}") from None


def _config(path: Path) -> Config:
    try:
        version = json.loads(path.read_bytes()[: MAX_JSON + 1]).get("format")
    except (ValueError, AttributeError, RecursionError):
        version = None
    if isinstance(version, int) and version > FORMAT:
        raise StoreError(f"{path}: made by a newer diffeo (format {version}, this one reads {FORMAT}): upgrade")
    return _json(path, Config)


def _tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise StoreError(f"{path}: damaged or not a safetensors file: {str(error).splitlines()[0]}") from None


def _build(config: Config, shapes: dict[str, tuple[int, ...]], folder: Path) -> Flow:
    if config.model is None:
        raise StoreError(f"{folder}: holds a flow built by hand: build the same flow and call load(folder, into=flow)")
    if config.model not in MODELS:
        raise StoreError(f"{folder}: unknown model {config.model!r}: this diffeo knows {', '.join(MODELS)}")
    _refuse_oversized(config.model, config.args, shapes, folder)
    try:
        with torch.device("meta"):  # shapes first, memory only when they agree with the weights
            _compare(MODELS[config.model](**config.args), shapes, folder)
        return MODELS[config.model](**config.args)
    except StoreError:
        raise
    except (DiffeoError, TypeError, ValueError, RuntimeError, ArithmeticError, LookupError) as error:
        if out_of_memory(error):
            raise
        raise StoreError(f"{folder}/{CONFIG}: arguments do not build a {config.model}: {str(error).splitlines()[0]}") from None


def _refuse_oversized(model: str, args: dict[str, Any], shapes: dict[str, tuple[int, ...]], folder: Path) -> None:
    """No size in the arguments may exceed what the weights on disk account for, so building stays cheap."""
    values = sum(prod(shape) for shape in shapes.values())
    args, event = dict(args), args.get("event_shape")
    image = isinstance(event, list) and len(event) == 3 and all(isinstance(side, int) for side in event)
    if image and not _accounted(model, args.pop("event_shape"), args.get("patch"), shapes):
        raise StoreError(f"{folder}/{CONFIG}: event_shape={event} is larger than the weights account for")

    def check(name: str, value: Any) -> None:
        if isinstance(value, list):
            if len(value) > max(values, 64):
                raise StoreError(f"{folder}/{CONFIG}: {name} has {len(value)} entries, more than the weights account for")
            for item in value:
                check(name, item)
        limit = len(shapes) if name in COUNTS else max(values, 64)
        if isinstance(value, int) and not isinstance(value, bool) and name != "seed" and abs(value) > limit:
            raise StoreError(f"{folder}/{CONFIG}: {name}={value} is larger than the weights account for")

    for name, value in args.items():
        check(name, value)


def _accounted(model: str, event: list[int], patch: Any, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Do the weights account for images of this shape?

    Those of a convolution know nothing of the size of its images, which costs no memory before there is one. Two models
    keep a list of all pixels, or of all patches and of the values of each, and have a tensor as long.
    """
    (channels, height, width), longest = event, max((64, *(side for shape in shapes.values() for side in shape)))
    if prod(event) > MAX_VALUES:
        return False
    if model == "nice":
        return prod(event) <= longest
    if model == "jet":
        least, most = (patch, patch) if isinstance(patch, int) else (1, 4)  # what its sizes choose
        return height * width <= most**2 * longest and channels * least**2 <= 2 * longest + 1
    return True


def _compare(flow: Flow, shapes: dict[str, tuple[int, ...]], folder: Path) -> None:
    expected = {name: tuple(t.shape) for name, t in flow.state_dict().items()}
    if expected != shapes:
        odd = next(name for name in sorted({*expected, *shapes}) if expected.get(name) != shapes.get(name))
        raise StoreError(f"{folder}/{WEIGHTS}: tensor {odd!r} has shape {shapes.get(odd)}, the model expects {expected.get(odd)}")
