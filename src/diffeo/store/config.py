"""`config.json`, from a stranger: read within limits, its arguments checked against the signature
of the model.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic
import pydantic_core

from .. import __version__
from ..card import Built, Card, DataNote
from ..core.errors import ConfigError, StoreError
from ..core.text import printable
from ..domains import DOMAINS
from ..flow import Flow
from ..models import ModelSpec

__all__ = [
    "FORMAT",
    "MAX_JSON",
    "Config",
    "arguments",
    "card_of",
    "config_of",
    "first_fault",
    "parse",
    "parse_json",
]

FORMAT = 1
MAX_JSON = 16 << 20  # bytes; 100,000 columns with long names fit
MAX_ITEMS = 1 << 20  # values and names in it: each takes a hundred bytes of memory


class Config(pydantic.BaseModel, extra="forbid", frozen=True, strict=True):
    """What `config.json` says."""

    format: int
    diffeo: str
    model: str | None
    args: dict[str, Any]
    metadata: dict[str, Any] = {}


NOTES: dict[str, type[DataNote]] = {
    domain.note.key: domain.note for domain in DOMAINS.values() if domain.note is not None
}


def card_of(config: Config, path: Path) -> Card:
    """What a configuration says, typed; raises `StoreError` where its metadata are of another
    form than diffeo makes.
    """
    built = None if config.model is None else Built(model=config.model, args=config.args)
    noted = config.metadata.keys() & NOTES.keys()
    if len(noted) > 1:
        raise StoreError(f"{path}: its metadata are of several kinds of data")
    try:
        data = next((NOTES[key].model_validate(config.metadata[key]) for key in noted), None)
        return Card(built=built).having_metadata(config.metadata, data)
    except pydantic.ValidationError as error:
        raise StoreError(f"{path}: its metadata are damaged: {first_fault(error)}") from None
    except ConfigError as error:
        raise StoreError(f"{path}: its metadata are damaged: {printable(error)}") from None


def config_of(card: Card) -> Config:
    """The configuration that says what a card does."""
    return Config(
        format=FORMAT,
        diffeo=__version__,
        model=card.model,
        args=card.args,
        metadata=card.metadata(),
    )


def parse(content: bytes, path: Path) -> Config:
    """Raises `StoreError` when this is no configuration, or that of a newer diffeo."""
    found = parse_json(content, path)
    version = found.get("format") if isinstance(found, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise StoreError(
            f"{path}: made by a newer diffeo (format {version}, this one reads {FORMAT}): upgrade"
        )
    try:
        return Config.model_validate(found)
    except pydantic.ValidationError as error:
        raise StoreError(
            f"{path}: damaged or not written by diffeo: {first_fault(error)}"
        ) from None


def parse_json(content: bytes, path: Path) -> Any:
    """The values of a JSON file; raises `StoreError` for what is none, or would take too much
    memory.
    """
    if len(content) > MAX_JSON or sum(map(content.count, (b",", b":", b"[", b"{"))) > MAX_ITEMS:
        raise StoreError(
            f"{path}: larger than {MAX_JSON >> 20} MiB or {MAX_ITEMS:,} values, refused"
        )
    try:
        return pydantic_core.from_json(content)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path}: damaged or not written by diffeo: {printable(error)}") from None


def arguments(spec: ModelSpec, args: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the types that the model declares: no text or fraction where it counts,
    no number beyond floats.

    Raises `ConfigError`.
    """
    shape = args.get("event_shape")
    sides: list[Any] = shape if isinstance(shape, list) else [shape]
    if not all(type(side) is int and side >= 0 for side in sides):
        raise ConfigError(f"event_shape={printable(shape, 60)} is not a list of whole numbers")
    fields = _fields(spec.builder(sides))
    try:
        found = fields.model_validate(args)
    except pydantic.ValidationError as error:
        raise ConfigError(first_fault(error)) from None
    return {name: getattr(found, name) for name in args}


@functools.cache
def _fields(build: Callable[..., Flow]) -> type[pydantic.BaseModel]:
    """A model function's parameters as fields; 0 and 1 are truth values too."""
    hints, loose = typing.get_type_hints(build), pydantic.Field(strict=False)
    given: dict[str, Any] = {
        name: (
            typing.Annotated[bool, loose] if hints[name] is bool else hints[name],
            ... if p.default is p.empty else p.default,
        )
        for name, p in inspect.signature(build).parameters.items()
    }
    rules = pydantic.ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    fields: type[pydantic.BaseModel] = pydantic.create_model(
        build.__name__, __config__=rules, **given
    )
    return fields


def first_fault(error: pydantic.ValidationError) -> str:
    """Where it is, and what is wrong, in one line."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    return printable(f"{printable(place, 60)}: {fault['msg']}")
