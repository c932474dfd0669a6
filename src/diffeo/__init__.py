"""diffeo: normalizing flows from coupling layers.

The public names stand in `__init__.pyi`, one a line, and are imported on first use, so `import
diffeo` and `diffeo --help` start at once.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

__version__ = "0.2.0"


def _public_names() -> dict[str, str]:
    """name -> the module that defines it; for a room, which is a module itself, the empty word."""
    stub = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    imports = re.findall(r"^from \.(\S*) import (\w+) as \2$", stub, flags=re.MULTILINE)
    return {name: module for module, name in imports}


_NAMES = _public_names()

__all__ = sorted(_NAMES)


def __getattr__(name: str) -> object:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _NAMES[name]
    if not module:
        return importlib.import_module(f".{name}", __name__)
    return getattr(importlib.import_module(f".{module}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
