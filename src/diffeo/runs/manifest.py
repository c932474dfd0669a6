"""What a run was made from, in `run.json` of its folder; resuming with anything else is refused,
the difference named.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic

from ..core.errors import CheckpointError
from ..core.files import write_atomic
from ..core.wording import argument
from .fingerprints import difference

__all__ = ["begin_run", "recorded_settings"]

# may differ on resume
CHANGEABLE = ("steps", "minutes", "patience", "checkpoint_seconds", "eval_rows")
MANIFEST = "run.json"


def recorded_settings(folder: Path | None, *, resume: bool) -> dict[str, Any]:
    """The settings of the run to be resumed, none for a new one: those that were derived from a
    limit stay when the limit changes.

    Raises `CheckpointError` where the manifest is damaged.
    """
    if folder is None or not resume or not (folder / MANIFEST).exists():
        return {}
    return dict(_read(folder / MANIFEST)["settings"])


def begin_run(
    folder: Path,
    *,
    resume: bool,
    data: Mapping[str, Any],
    recipe: Any,
    settings: Mapping[str, Any],
) -> None:
    """Write the manifest of a new run, or make sure that a resumed one agrees with it.

    `data` are fingerprints by name, `recipe` says what is trained; both and `settings` are
    JSON-able. Checkpoints of an earlier run in the folder are removed. Raises `CheckpointError`
    with the first difference, or where the folder cannot be written.
    """
    path = folder / MANIFEST
    fixed = {name: value for name, value in settings.items() if name not in CHANGEABLE}
    now = json.loads(json.dumps({"data": data, "recipe": recipe, "settings": fixed}))
    if resume and path.exists():
        for reason in _differences(_read(path), now):
            raise CheckpointError(f"{folder}: cannot resume: {reason}")
        return
    if resume and any((folder / "checkpoints").glob("step-*")):
        raise CheckpointError(
            f"{folder}: cannot resume: {MANIFEST} is lost, which says what its checkpoints were"
            " made from"
        )
    try:
        # of an earlier run, which this one replaces
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        write_atomic(path, json.dumps(now, indent=1).encode())
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot write here: {error.strerror or error}") from None


class _Print(pydantic.BaseModel, extra="allow"):
    """What `fingerprint` made."""

    rows: int
    columns: dict[str, str]


class _Settings(pydantic.BaseModel, extra="allow"):
    """Those that a resumed run takes over; the others are only compared."""

    eval_every: int = pydantic.Field(default=1, gt=0)
    warmup: int = pydantic.Field(default=0, ge=0)


class _Run(pydantic.BaseModel):
    """What `run.json` says."""

    data: dict[str, _Print]
    recipe: Any
    settings: _Settings


def _read(path: Path) -> dict[str, Any]:
    try:
        return _Run.model_validate_json(path.read_bytes(), strict=True).model_dump(
            exclude_unset=True
        )
    except (OSError, pydantic.ValidationError):
        raise CheckpointError(
            f"{path}: damaged; start again without {argument('resume', True)}"
        ) from None


def _differences(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    for what in {**before["data"], **now["data"]}:
        if what not in before["data"] or what not in now["data"]:
            yield f"{what} were given in only one of the two runs"
        elif changed := difference(before["data"][what], now["data"][what]):
            yield f"the {what} have changed: {changed}"
    for key in ("recipe", "settings"):
        old = _flat(before[key])
        new = _flat(now[key])
        for name in {**old, **new}:
            if old.get(name) != new.get(name):
                mend = f"give the same settings, or start again without {argument('resume', True)}"
                yield f"{name} was {old.get(name)} and is now {new.get(name)}; {mend}"


def _flat(tree: Any) -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {}
    inner = {k: v for value in tree.values() if isinstance(value, dict) for k, v in value.items()}
    return {k: v for k, v in tree.items() if not isinstance(v, dict)} | inner
