"""What data a run was made from, so that resuming on other data is refused and the difference named."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["difference", "fingerprint"]


def fingerprint(x: Tensor, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Row count and one hash per column of a table (at most 4,096 of them); beyond, and for images, one for all."""
    flat = x.detach().cpu().reshape(len(x), -1).numpy()
    labels = list(names) if names else [f"x{i}" for i in range(flat.shape[1])]
    if flat.shape[1] > 4096 or x.dim() > 2:
        return {"rows": len(flat), "columns": {"all": _hash(flat)}}
    return {"rows": len(flat), "columns": {name: _hash(flat[:, i]) for i, name in enumerate(labels)}}


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """In words, the first thing in which two fingerprints differ; None when they are the same."""
    if old["rows"] != new["rows"]:
        return f"{new['rows']} rows instead of {old['rows']}"
    before, now = old["columns"], new["columns"]
    if list(before) != list(now):
        gone, come = [c for c in before if c not in now], [c for c in now if c not in before]
        return f"columns changed (gone: {gone or 'none'}, new: {come or 'none'})" if gone or come else "columns reordered"
    changed = [name for name in before if before[name] != now[name]]
    return f"other values in column {', '.join(map(repr, changed[:5]))}" if changed else None


def _hash(values: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]
