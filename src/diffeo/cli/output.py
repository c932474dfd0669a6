"""What a command prints: its result on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from ..core.text import visible

__all__ = ["emit", "finite", "say"]


def say(*lines: str) -> None:
    """Words for people, on stderr; names in them may be a stranger's."""
    for line in lines:
        print(visible(line), file=sys.stderr)


def emit(result: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    """The result: JSON for programs, lines for people, on stdout."""
    if as_json:
        print(_printable(json.dumps(finite(result), ensure_ascii=False)))
    else:
        print("\n".join(visible(part) for line in lines for part in line.split("\n")))


def finite(value: Any) -> Any:
    """JSON knows no inf and no NaN: they become null."""
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _printable(text: str) -> str:
    """The same JSON, with what a terminal would act on written as escapes: names in a model may be
    a stranger's.
    """
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
