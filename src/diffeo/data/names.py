"""Names of columns, arrays and classes: checked, and shortened for messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from ..core.errors import DataError

__all__ = ["refuse_duplicates", "refuse_unknown", "shorten"]


def refuse_duplicates(label: str, names: Sequence[str]) -> None:
    """Raise `DataError` naming every column name that occurs more than once."""
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise DataError(
            f"{label}: duplicate column names {shorten(twice, 5)}; give each column its own name"
        )


def refuse_unknown(label: str, wanted: Iterable[str], names: Sequence[str], *, option: str) -> None:
    """Raise `DataError` for the first wanted name that the table does not have, with the nearest
    one.
    """
    known = set(names)
    for name in wanted:
        if name not in known:
            near = get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the columns are {shorten(names)}"
            raise DataError(
                f"{label}: {option} names column {name!r}, which the table does not have; {hint}"
            )


def shorten(names: Sequence[str], limit: int = 8) -> str:
    """Names quoted and joined, truncated after `limit`.

    >>> shorten(["a", "b"])
    "'a', 'b'"
    """
    text = ", ".join(repr(n if len(n) <= 60 else n[:57] + "...") for n in names[:limit])
    return text if len(names) <= limit else f"{text} and {len(names) - limit} more"
