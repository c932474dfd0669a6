"""Text from files and strangers, made fit for one line of a terminal."""

from __future__ import annotations

__all__ = ["printable", "visible"]


def printable(text: object, most: int = 300) -> str:
    """One line of at most `most` characters in which nothing moves a cursor: what does not print is
    written as an escape.

    >>> printable("a\\x1b[31mb\\nc")
    'a\\\\x1b[31mb c'
    """
    whole = str(text)
    cut = whole[:most]
    line = visible(" ".join(cut.split()))
    return line if len(whole) <= most else f"{line[:most]}…"


def visible(text: str) -> str:
    """The same text in which nothing moves a cursor: what does not print is written as an escape.

    >>> visible("a\\x1b[31m  b")
    'a\\\\x1b[31m  b'
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )
