"""What was being done when memory ran out, and what to lower: one line."""

from __future__ import annotations

import traceback
from typing import Any

__all__ = ["shortage"]

LOWER = {
    "fit": (
        "take a smaller --batch-size, a smaller model (--size, --set hidden=[64,64]), --memory"
        " invert, or fewer rows"
    ),
    "sample": "take a smaller -n, or write .csv or .parquet, which are written piece by piece",
    "infer": "take a smaller --batch-size, a smaller -n, or fewer entries",
    "check": "take fewer --rows",
    "interpolate": "take fewer --steps",
    "reconstruct": "take a smaller -n",
    "edit": "take fewer images",
}
STAGES = (  # room, beginning of the function's name, words
    ("data", "read", "reading the data"),
    ("models", "", "building the model"),
    ("store", "load", "reading the model"),
    ("report", "", "drawing the report"),
    ("inference", "", "fitting the posterior"),
    ("training", "fit", "training"),
    ("training", "", "computing log-densities"),
    ("flow", "sample", "drawing samples"),
)


def shortage(error: BaseException) -> str:
    """The line: the stage is that of the outermost call that names one, the advice that of the
    verb.
    """
    frames = [
        (_room(frame.f_globals), frame.f_code.co_name)
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    verb = next((name for room, name in frames if room == "cli" and name in LOWER), "")
    stages = (said for frame in frames for *of, said in STAGES if _is(frame, *of))
    doing = next(stages, "")
    advice = LOWER.get(verb, "take fewer rows, or a smaller model")
    return f"not enough memory{f' while {doing}' if doing else ''}: {advice}"


def _room(names: dict[str, Any]) -> str:
    """`diffeo.ROOM` of a module's globals."""
    module = str(names.get("__name__", "")).split(".")
    return module[1] if module[0] == "diffeo" and len(module) > 1 else ""


def _is(frame: tuple[str, str], room: str, start: str) -> bool:
    return frame[0] == room and frame[1].startswith(start)
