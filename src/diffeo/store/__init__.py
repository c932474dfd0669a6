"""Saving and loading models: a folder of safetensors and JSON, nothing that can run code.

`model.safetensors` holds the weights, `config.json` the format version, the model's name and
arguments, the column schema and a training summary, `manifest.json` the sha256 of both. Who reads
while others save, or after one of them crashed, gets the old model or the new one, never nothing or
a mixture.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ..core.errors import StoreError
from ..core.files import atomic, write_atomic
from ..core.text import printable
from ..flow import Flow
from .config import Config, card_of, config_of, parse
from .folder import (
    CONFIG,
    MANIFEST,
    WEIGHTS,
    Manifest,
    at_rest,
    commit,
    manifests,
    open_file,
    options,
    read_config_bytes,
)
from .rebuild import fit_to, rebuild
from .tensors import check_buffers, check_finite, read_header, read_tensors

__all__ = ["CONFIG", "MANIFEST", "WEIGHTS", "Config", "load", "read_config", "save"]


def save(flow: Flow, folder: str | Path) -> Path:
    """Write a flow to a folder, atomically, over an older model if there is one; returns the
    folder.

    Flows from `diffeo.models` load again by name; one built by hand is loaded with `load(folder,
    into=flow)`. Raises `StoreError`, and keeps what was there, when the folder cannot be written, a
    weight is not finite, or the metadata are not JSON.
    """
    folder = Path(folder)
    try:
        tensors = _tensors(flow)
        config = config_of(flow.card).model_dump_json(indent=1).encode()
        check_finite(tensors, folder / WEIGHTS)
        # what would not be read again is not written
        card_of(parse(config, folder / CONFIG), folder / CONFIG)
        folder.mkdir(parents=True, exist_ok=True)

        def write() -> None:
            with atomic(folder / f"{WEIGHTS}.new") as temporary:
                save_file(tensors, temporary)
            write_atomic(folder / f"{CONFIG}.new", config)

        commit(folder, write)
    except (OSError, ValueError, SafetensorError) as error:
        reason = printable(getattr(error, "strerror", None) or error)
        raise StoreError(
            f"{folder}: cannot save the model ({reason}); a model that was there is kept"
        ) from None
    return folder


def load(
    folder: str | Path, *, into: Flow | None = None, device: str | torch.device = "cpu"
) -> Flow:
    """Read a flow from a folder made by `save`. No pickle, no import by name: models are looked up
    in `diffeo.models.SPECS`.

    The folder may be a stranger's: what it asks for is checked against what it holds before
    anything is built, and one that another process saves to meanwhile gives the old model or the
    new. Raises `StoreError`, in one line, when it is missing, damaged, truncated, oversized,
    hostile or of a newer format, or holds weights that are not finite.

    >>> import diffeo, tempfile
    >>> folder = diffeo.save(diffeo.models.nsf((2,), layers=2), tempfile.mkdtemp())
    >>> diffeo.load(folder).event_shape
    (2,)
    """
    place = Path(folder)
    return at_rest(place, lambda: _load(place, into)).to(device).eval()


def read_config(folder: str | Path) -> Config:
    """What `config.json` of a model folder says, without building the model; raises `StoreError` as
    `load` does.
    """
    place = Path(folder)

    def read() -> Config:
        newest = next(iter(manifests(place)))
        return parse(read_config_bytes(place, newest), place / CONFIG)

    return at_rest(place, read)


def _load(folder: Path, into: Flow | None) -> Flow:
    """The newest complete model."""
    fault: StoreError | None = None
    for manifest in manifests(folder):
        try:
            return _listed(folder, manifest, into)
        except StoreError as error:
            fault = error
        except MemoryError:
            fault = StoreError(f"{folder}: the model does not fit in memory")
    raise fault or StoreError(f"{folder}: no model in it")


def _listed(folder: Path, manifest: Manifest, into: Flow | None) -> Flow:
    """The model of a manifest, from bytes that are read once: what is parsed is what was hashed."""
    config = parse(read_config_bytes(folder, manifest), folder / CONFIG)
    card = card_of(config, folder / CONFIG)
    fault: StoreError | None = None
    for path in options(folder, WEIGHTS):
        try:
            flow = _with_weights(path, manifest, config, into=into, folder=folder)
        except StoreError as error:
            fault = error
            continue
        flow.card = card
        return flow
    raise fault or StoreError(f"{folder}/{WEIGHTS}: missing")


def _with_weights(
    path: Path, manifest: Manifest, config: Config, *, into: Flow | None, folder: Path
) -> Flow:
    with open_file(path) as file:
        header = read_header(file, path)
        flow = rebuild(config, header, folder) if into is None else fit_to(into, header, folder)
        tensors, digest = read_tensors(file, header)
    if digest != manifest.files[WEIGHTS]:
        raise StoreError(f"{path}: damaged (its sha256 is not the one in {MANIFEST})")
    check_finite(tensors, path)
    check_buffers(flow, tensors, path)
    flow.load_state_dict(tensors)
    return flow


def _tensors(flow: Flow) -> dict[str, Tensor]:
    """The weights, those that several modules share once for each."""
    found: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, t in flow.state_dict().items():
        plain = t.detach().cpu().contiguous()
        shared = plain.untyped_storage().data_ptr() in places
        found[name] = plain.clone() if shared else plain
        places.add(plain.untyped_storage().data_ptr())
    return found
