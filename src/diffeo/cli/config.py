"""The settings of a run: from a TOML file, from `--set`, from options, checked together."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic

from ..core.errors import ConfigError
from ..core.files import write_atomic

if TYPE_CHECKING:
    from ..domains import Domain

__all__ = ["RunConfig", "collect", "remember"]

OPTIONS = "options.json"


MOST = 10**12  # steps, rows ...

FilePath = Annotated[Path, pydantic.BeforeValidator(lambda value: _named(value))]


def _named(value: Any) -> Any:
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise ValueError("is empty: name a file, or leave it out")
    return value


def _known(name: str) -> str:
    from ..models import SPECS

    names = [one for one, spec in SPECS.items() if spec.uses & {"table", "image"}]
    if name not in names:
        raise ValueError(f"{name!r} is none of {', '.join(names)}")
    return name


class RunConfig(pydantic.BaseModel, extra="forbid", allow_inf_nan=False):
    """What `run.toml` may say; options of the command line have the same names. `model_args` go to
    the model function.
    """

    model: Annotated[str, pydantic.AfterValidator(lambda name: _known(name))] | None = None
    """None: the default for a table, or for images."""
    steps: int | None = pydantic.Field(default=None, gt=0, le=MOST)
    epochs: float | None = pydantic.Field(default=None, gt=0, le=MOST)
    minutes: float | None = pydantic.Field(default=None, gt=0)
    seed: int = pydantic.Field(default=0, ge=0, lt=2**63)
    batch_size: int | None = pydantic.Field(default=None, gt=0, le=MOST)
    lr: float | None = pydantic.Field(default=None, gt=0, lt=10)
    weight_decay: float | None = pydantic.Field(default=None, ge=0)
    eval_every: int | None = pydantic.Field(default=None, gt=0, le=MOST)
    threads: int | None = pydantic.Field(default=None, gt=0)
    patience: int | None = pydantic.Field(default=None, ge=0, le=MOST)
    ema: float = pydantic.Field(default=0.998, ge=0, lt=1)
    clip: float = pydantic.Field(default=5.0, gt=0)
    memory: Literal["store", "invert"] = "store"
    valid: FilePath | None = None
    valid_share: float = pydantic.Field(default=0.1, ge=0, lt=1)
    context: list[str] = []
    columns: dict[str, str] = {}
    drop: list[str] = []
    max_bad: float = pydantic.Field(default=0.01, ge=0, le=1)
    dialect: str | None = None
    labels: FilePath | None = None
    valid_labels: FilePath | None = None
    bits: int | None = pydantic.Field(default=None, ge=1, le=8)
    depth: int | None = pydantic.Field(default=None, ge=8, le=16)
    resize: str | None = pydantic.Field(default=None, pattern=r"^\d{1,5}(x\d{1,5})?$")
    colour: Literal["grey", "rgb"] | None = None
    flips: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    device: str = "auto"
    report: bool = True
    model_args: dict[str, Any] = {}


OPTIONS_OF = {  # a kind of data that others do not have
    "table": ("columns", "drop", "max_bad", "dialect"),
    "image": (
        *("labels", "valid_labels", "bits", "depth", "resize", "colour"),
        *("flips", "precision"),
    ),
}


def collect(
    config: Path | None,
    settings: Sequence[str],
    options: Mapping[str, Any],
    *,
    resume_from: Path | None = None,
    domain: Domain,
) -> RunConfig:
    """Later wins: the options of the run resumed, the file, `--set`, options. Raises `ConfigError`
    naming the culprit.

    `domain` is the kind of the data: an option or model of another kind is refused.
    """
    merged: dict[str, Any] = {} if resume_from is None else _recall(resume_from)
    source = "options"
    if config is not None:
        merged |= _read(config)
        source = str(config)
    if "size" in merged:  # an option of the command, an argument of the model
        settings = [f"model.size={merged.pop('size')}", *settings]
    if not isinstance(merged.get("model_args", {}), dict):
        raise ConfigError(f"{source}: model_args must be a table: [model_args], then key = value")
    given = {k: v for k, v in options.items() if v is not None and v != [] and v != {}}
    if given.keys() & {"steps", "epochs"}:  # a new limit replaces a recalled one
        merged = {k: v for k, v in merged.items() if k not in ("steps", "epochs")}
    merged |= given
    for setting in settings:
        _apply(merged, setting)
    try:
        checked = RunConfig.model_validate(merged)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        hint = _near(name, RunConfig.model_fields) if first["type"] == "extra_forbidden" else ""
        raise ConfigError(f"{source}: {name}: {first['msg'].lower()}{hint}") from None
    _check_kind(checked, domain)
    checked = checked.model_copy(update={"model": checked.model or domain.default_model})
    _check_model(checked, domain)
    return checked


def remember(config: RunConfig, folder: Path) -> None:
    """Note the settings in the run's folder, so that `--resume` alone goes on with them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / OPTIONS, config.model_dump_json(indent=1, exclude_defaults=True).encode())


def _recall(folder: Path) -> dict[str, Any]:
    path = folder / OPTIONS
    try:
        if not path.exists():
            return {}
        return RunConfig.model_validate_json(path.read_bytes()).model_dump(exclude_unset=True)
    except (OSError, pydantic.ValidationError):
        raise ConfigError(
            f"{path}: damaged; give the options of the run again, without --resume"
        ) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def _apply(merged: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {setting}: write key=value, such as --set layers=10")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    if key in RunConfig.model_fields:
        merged[key] = value
    else:  # `model.steps` is the model's, `steps` the training's
        merged["model_args"] = {**merged.get("model_args", {}), key.removeprefix("model."): value}


def _check_kind(config: RunConfig, domain: Domain) -> None:
    given = config.model_fields_set
    for name in config.context:
        if not name or config.context.count(name) > 1:
            raise ConfigError(
                f"--context {','.join(config.context)}:"
                f" {f'{name!r} is there twice' if name else 'a name is empty'}"
            )
    others = {kind: names for kind, names in OPTIONS_OF.items() if kind != domain.name}
    for kind, name in ((kind, name) for kind, names in others.items() for name in names):
        if name in given:
            raise ConfigError(f"{name} is an option for {kind}s, and these are not: leave it out")
    if domain.contexts is not None and config.context not in ([], list(domain.contexts)):
        raise ConfigError(
            f"--context {','.join(config.context)}: {domain.name}s can be conditioned on their"
            f" class, --context {','.join(domain.contexts)}"
        )


def _check_model(config: RunConfig, domain: Domain) -> None:
    from ..models import SPECS, models_for

    assert config.model is not None
    spec = SPECS[config.model]
    if domain.name not in spec.uses:
        raise ConfigError(
            f"--model {config.model} is for {' and '.join(f'{use}s' for use in spec.builders)}:"
            f" {domain.name}s take {', '.join(models_for(domain.name))}"
        )
    known = [name for name in spec.settings(domain.name) if name not in _FIXED]
    for name in config.model_args:
        if name not in known:
            hint = _near(name, [*known, *RunConfig.model_fields])
            raise ConfigError(f"{name}: not a setting of {config.model} or of training{hint}")
    for name, value in config.model_args.items():
        if not _plain(value):
            raise ConfigError(
                f"{name}={value}: give a finite number, true, false, a word or a list of them"
            )


def _plain(value: Any) -> bool:
    """What a model's arguments may be, and its config.json can hold: no dates, no NaN."""
    if isinstance(value, list):
        return all(map(_plain, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str) or (isinstance(value, int) and abs(value) < 2**63)


_FIXED = ("event_shape", "context_shape", "supports", "seed", "classes", "bits")


def _near(name: str, known: Any) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"
