"""How the command names the arguments of the library: by its options."""

from __future__ import annotations

__all__ = ["as_option"]

FLAGS = {"columns": "--column"}  # the others have the name of their argument


def as_option(name: str, value: object) -> str:
    """The option of an argument, with its value as one writes it.

    >>> as_option("max_bad", 0.03), as_option("resume", True), as_option("resize", (8, 6))
    ('--max-bad 0.03', '--resume', '--resize 8x6')
    >>> as_option("drop", ["a", "b"]), as_option("columns", {"age": "real"})
    ('--drop a --drop b', '--column age=real')
    """
    flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
    if value is None or value is True:
        return flag
    if isinstance(value, dict):
        return " ".join(f"{flag} {key}={kind}" for key, kind in value.items())
    if isinstance(value, list):
        return " ".join(f"{flag} {each}" for each in value)
    if isinstance(value, tuple):
        return f"{flag} {'x'.join(map(str, value))}"
    return f"{flag} {value}"
