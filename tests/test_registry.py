"""Implementations of kernels are looked up by operator and kind of device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import diffeo
from diffeo.kernels import registry
from diffeo.maps import Affine

ROOM = Path(diffeo.__file__).parent / "kernels"
FOLDERS = sorted(path.parent for path in ROOM.glob("*/op.py"))


class Everywhere3:
    """An implementation for meta tensors that is easy to tell from the reference."""

    def forward(self, x: Tensor, params: Tensor, settings: object, by_row: bool) -> object:
        return x.new_empty(3), x.new_empty(3)


@pytest.fixture
def meta() -> Iterator[None]:
    """An implementation of the affine map for the device "meta"."""
    registry.register("affine", "meta", Everywhere3)
    yield
    registry.register("affine", "meta", lambda: None)


def shape_on_meta() -> torch.Size:
    x = torch.empty(5, 2, device="meta")
    return Affine().forward(x, torch.empty(5, 2, 2, device="meta"))[0].shape


def test_an_implementation_serves_its_device(meta: None) -> None:
    assert shape_on_meta() == (3,)
    y, _ = Affine().forward(torch.zeros(5, 2), torch.zeros(5, 2, 2))
    assert y.shape == (5, 2)


def test_the_reference_serves_where_there_is_none() -> None:
    assert registry.find("affine", torch.empty(1, device="meta")) is None
    assert shape_on_meta() == (5, 2)


def test_one_that_cannot_be_loaded_is_none() -> None:
    registry.register("affine", "meta", lambda: None)
    assert shape_on_meta() == (5, 2)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_is_an_operator(folder: Path) -> None:
    """With its formulas, and an implementation for CPUs that is registered under its name."""
    assert {"reference.py", "cpu.cpp"} <= {path.name for path in folder.iterdir()}
    assert (folder.name, "cpu") in registry.implemented()
