"""What a user says of the dialect of a text table, such as `delimiter=;,decimal=comma,header=2`."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from ...core.errors import ConfigError
from ...core.wording import argument
from .marks import WORDS

__all__ = ["DELIMITERS", "Wanted", "delimiter_word"]

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|", "space": " "}
MARKS = {word: mark for mark, word in WORDS.items()}
EXAMPLE = "delimiter=semicolon,decimal=comma,header=2,missing=NA|-"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The parts of a dialect that were said; None for what is to be detected.

    `header` is the number of a line, 0 for a file without names.

    >>> Wanted.parse("decimal=comma,header=2,missing=NA|-").missing
    ('NA', '-')
    """

    delimiter: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    header: int | None = None
    missing: tuple[str, ...] | None = None

    @classmethod
    def parse(cls, text: str | None) -> Wanted:
        """Read `key=value` pairs with commas between; raises `ConfigError` for what is none."""
        readers: dict[str, Callable[[str], object]] = {
            "delimiter": _delimiter,
            "decimal": lambda value: _mark("decimal", value, ("dot", "comma")),
            "thousands": lambda value: _mark("thousands", value, tuple(MARKS)),
            "encoding": _encoding,
            "header": _header,
            "missing": lambda value: tuple(value.split("|")) if value else (),
        }
        parts: dict[str, object] = {}
        for part in (text or "").split(",") if text else ():
            key, equals, value = part.partition("=")
            key = key.strip()
            if not equals or key not in readers:
                known = ", ".join(field.name for field in fields(cls))
                raise ConfigError(
                    f"{argument('dialect', text)}: {part!r} is not KEY=VALUE with a key of {known};"
                    f" such as {argument('dialect', EXAMPLE)}"
                )
            if key in parts:
                raise ConfigError(
                    f"{argument('dialect', text)}: {key} is given twice; give it once"
                )
            parts[key] = readers[key](value)
        wanted = cls(**parts)  # type: ignore[arg-type]
        if wanted.decimal is not None and wanted.decimal == wanted.thousands:
            raise ConfigError(
                f"{argument('dialect', text)}: one character cannot be both decimal mark and"
                " thousands separator"
            )
        return wanted


def delimiter_word(delimiter: str) -> str:
    """The word for a delimiter, or the character itself."""
    return next((word for word, mark in DELIMITERS.items() if mark == delimiter), delimiter)


def _delimiter(value: str) -> str:
    mark = DELIMITERS.get(value, value)
    if len(mark) != 1 or mark.isalnum() or mark in "\"\r\n.+-'_" or not mark.isascii():
        raise ConfigError(
            f"{argument('dialect')}: delimiter={value}: give {', '.join(DELIMITERS)} or one"
            " character"
        )
    return mark


def _mark(key: str, value: str, words: Sequence[str]) -> str:
    mark = MARKS.get(value, value)
    if value == "" or mark not in [MARKS[word] for word in words]:
        raise ConfigError(f"{argument('dialect')}: {key}={value}: give {', '.join(words)}")
    return mark


def _encoding(value: str) -> str:
    try:
        return codecs.lookup(value).name if "x".encode(value) else value
    except (LookupError, UnicodeError, ValueError):
        raise ConfigError(
            f"{argument('dialect')}: encoding={value}: not known; give one such as utf-8, latin-1"
            " or cp1252"
        ) from None


def _header(value: str) -> int:
    if value == "none":
        return 0
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 1_000_000):
        raise ConfigError(
            f"{argument('dialect')}: header={value}: give the number of the line of column names,"
            " or none"
        )
    return int(value)
