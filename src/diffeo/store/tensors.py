"""A safetensors file from a stranger: what its header declares, then the tensors, from bytes that
were hashed.

The header is read first and must account for every byte of the file, so a size that is a lie is
refused before anything of that size is read. Nothing is mapped into memory: a file that is cut
short while it is read would end the process. The format:
https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from ..core.buffers import ChecksBuffers
from ..core.errors import StoreError
from ..core.text import printable
from .config import parse_json

__all__ = ["Declared", "Header", "check_buffers", "check_finite", "read_header", "read_tensors"]

MAX_HEADER = 8 << 20  # bytes; a tensor takes about 150
MAX_AXES = 16
NOT_OURS = "damaged or not a safetensors file"
DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What a header says of a tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Header:
    """The head of a file, as bytes and as what they say."""

    raw: bytes
    tensors: Mapping[str, Declared]
    size: int
    """Bytes of the tensors, all that follow the header."""

    @property
    def elements(self) -> int:
        """Numbers in all tensors together; an empty tensor, however long its sides, has none."""
        return sum(prod(t.shape) for t in self.tensors.values())


def read_header(file: BinaryIO, path: Path) -> Header:
    """The header at the start of a file; raises `StoreError` unless it accounts for every byte of
    it.
    """
    size = os.fstat(file.fileno()).st_size
    first = file.read(8)
    length = int.from_bytes(first, "little")
    if len(first) < 8 or length > size - 8:
        raise StoreError(f"{path}: {NOT_OURS}: its header does not fit in {size} bytes")
    if length > MAX_HEADER:
        raise StoreError(f"{path}: its header is larger than {MAX_HEADER >> 20} MiB, refused")
    text = file.read(length)
    tensors = dict(_declared(parse_json(text, path), path))
    end = 0
    for name, t in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
        if t.start != end or t.stop - t.start != prod(t.shape) * t.dtype.itemsize:
            raise StoreError(
                f"{path}: {NOT_OURS}: tensor {printable(name, 100)!r} is not where it should be"
            )
        end = t.stop
    if size != 8 + length + end:
        raise StoreError(
            f"{path}: damaged: its header accounts for {8 + length + end} bytes, the file has"
            f" {size}"
        )
    return Header(first + text, tensors, end)


def read_tensors(file: BinaryIO, header: Header) -> tuple[dict[str, Tensor], str]:
    """The tensors, which share one buffer, and the sha256 of all the bytes that they were read
    from.
    """
    buffer = bytearray(header.size)
    view, have = memoryview(buffer), 0
    while have < header.size and (more := file.readinto(view[have:])):  # type: ignore[attr-defined]
        have += more
    digest = hashlib.sha256(header.raw)
    digest.update(view[:have])
    return {name: _tensor(buffer, t) for name, t in header.tensors.items()}, digest.hexdigest()


def check_finite(tensors: Mapping[str, Tensor], where: Path) -> None:
    """Raise `StoreError`, naming the tensor, where a weight is not a finite number, or a truth
    value neither 0 nor 1.
    """
    for name, t in tensors.items():
        if t.is_floating_point() and not bool(t.isfinite().all()):
            raise StoreError(
                f"{where}: tensor {name!r} holds numbers that are not finite: the model would"
                " give NaN"
            )
        if t.dtype == torch.bool and bool((t.view(torch.uint8) > 1).any()):
            raise StoreError(
                f"{where}: damaged: tensor {name!r} holds truth values that are neither true nor"
                " false"
            )


def check_buffers(flow: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Raise `StoreError`, naming the module, where buffers are to be loaded that it cannot have,
    such as a permutation that is none.
    """
    for name, module in flow.named_modules():
        keys = [key for key, _ in module.named_buffers(recurse=False)]
        if not isinstance(module, ChecksBuffers):
            continue
        prefix = f"{name}." if name else ""
        buffers = {key: tensors[prefix + key] for key in keys if prefix + key in tensors}
        if fault := module.buffer_fault(buffers):
            raise StoreError(f"{where}: damaged: {fault} in {name!r}")


def _declared(found: Any, path: Path) -> Iterator[tuple[str, Declared]]:
    if not isinstance(found, dict):
        raise StoreError(f"{path}: {NOT_OURS}: its header is not an object")
    for name, entry in found.items():
        if name == "__metadata__":
            continue
        match entry:
            case {
                "dtype": str(dtype),
                "shape": list(shape),
                "data_offsets": [start, stop],
            } if _counts(*shape, start, stop):
                pass
            case _:
                raise StoreError(
                    f"{path}: {NOT_OURS}: tensor {printable(name, 100)!r} is badly described"
                )
        if dtype not in DTYPES or len(shape) > MAX_AXES:
            raise StoreError(
                f"{path}: tensor {printable(name, 100)!r} is {printable(dtype, 20)} of {len(shape)}"
                " axes: no model has such"
            )
        yield name, Declared(dtype=DTYPES[dtype], shape=tuple(shape), start=start, stop=stop)


def _counts(*values: Any) -> bool:
    return all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def _tensor(buffer: bytearray, t: Declared) -> Tensor:
    count = prod(t.shape)
    if not count:
        return torch.empty(t.shape, dtype=t.dtype)
    return torch.frombuffer(buffer, dtype=t.dtype, count=count, offset=t.start).view(t.shape)
