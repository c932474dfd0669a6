"""What holds for the options of every verb, checked before it runs."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core.errors import ConfigError

__all__ = ["check_words", "guarded"]

MOST = 10**12  # of anything that is counted


def check_words(words: list[str]) -> None:
    """Raise `ConfigError` for words that no option can mean: empty ones, and those that no file can
    hold.
    """
    for word in words:
        if not word.strip() or (word.startswith("--") and word.endswith("=")):
            raise ConfigError(
                f"{word!r}: a word of the command is empty: give a value, or leave the option out"
            )
        try:
            word.encode()
        except UnicodeEncodeError:
            raise ConfigError(
                f"{word!a}: this word is not UTF-8: rename the file, or write it in UTF-8"
            ) from None
        if "\0" in word:
            raise ConfigError(f"{word!a}: no word may have a zero byte in it")


def guarded(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb, refusing numbers that are not finite or beyond counting, and to write over what it
    reads.
    """
    flags = {
        name: _flag(name, entry)
        for name, entry in inspect.signature(verb, eval_str=True).parameters.items()
    }

    @functools.wraps(verb)
    def checked(**options: Any) -> None:
        for name, value in options.items():
            _check_number(flags[name], value)
        _check_out(options)
        verb(**options)

    return checked


def _flag(name: str, parameter: inspect.Parameter) -> str:
    """How the option is written."""
    for note in getattr(parameter.annotation, "__metadata__", ()):
        if declared := [d for d in getattr(note, "param_decls", None) or () if d.startswith("--")]:
            return str(declared[0])
    return f"--{name.strip('_').replace('_', '-')}"


def _check_number(flag: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{flag} {value}: give a finite number")
    most = 2**63 - 1 if flag == "--seed" else MOST
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > most:
        raise ConfigError(f"{flag} {value}: give at most {most:,}")


def _check_out(options: dict[str, Any]) -> None:
    out = options.get("out")
    if not isinstance(out, Path):
        return
    for name, value in options.items():
        if name != "out" and isinstance(value, Path) and _same(out, value):
            raise ConfigError(
                f"--out {out}: is what is read as {name.upper()}: choose another file"
            )


def _same(a: Path, b: Path) -> bool:
    try:
        return a.exists() and b.exists() and a.samefile(b)
    except (OSError, ValueError):
        return False
