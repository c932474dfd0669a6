"""Text from files and strangers, made fit for one line of a terminal."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: object, most: int = 300) -> str:
    """One line of at most `most` characters in which nothing moves a cursor: what does not print is written as an escape.

    >>> printable("a\\x1b[31mb\\nc")
    'a\\\\x1b[31mb c'
    """
    whole = str(text)
    cut = whole[:most]
    line = "".join(_visible(c) for c in " ".join(cut.split()))
    return line if len(whole) <= most else f"{line[:most]}…"


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
