"""What data a run was made from, so that resuming on other data is refused and the difference
named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["difference", "fingerprint"]

BLOCK = 2**20  # values hashed at a time


def fingerprint(x: Tensor, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Row count and one hash per column of a table (at most 4,096 of them); beyond, and for images,
    one for all.
    """
    x = x.detach()
    width = prod(x.shape[1:])
    if width > 4096 or x.dim() > 2:
        return {"rows": len(x), "columns": {"all": _hash(x)}}
    flat = x.cpu().reshape(len(x), width)
    labels = list(names) if names else [f"x{i}" for i in range(width)]
    return {"rows": len(x), "columns": {name: _hash(flat[:, i]) for i, name in enumerate(labels)}}


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """In words, the first thing in which two fingerprints differ; None when they are the same."""
    if old["rows"] != new["rows"]:
        return f"{new['rows']} rows instead of {old['rows']}"
    if list(old["columns"]) != list(new["columns"]):
        return _other_columns(list(old["columns"]), list(new["columns"]))
    changed = [name for name, digest in old["columns"].items() if new["columns"][name] != digest]
    return f"other values in column {', '.join(map(repr, changed[:5]))}" if changed else None


def _other_columns(old: list[str], new: list[str]) -> str:
    gone = [name for name in old if name not in new]
    added = [name for name in new if name not in old]
    if not gone and not added:
        return "columns reordered"
    return f"columns changed (gone: {gone or 'none'}, new: {added or 'none'})"


def _hash(rows: Tensor) -> str:
    """Of the values in order, a block of rows at a time: images may fill most of the memory, or be
    on disk.
    """
    digest = hashlib.sha256()
    for block in rows.split(max(1, BLOCK // max(1, prod(rows.shape[1:])))):
        digest.update(np.ascontiguousarray(block.cpu().numpy()).reshape(-1).data)
    return digest.hexdigest()[:16]
