"""Walks through latent space: as many events at a time as memory holds, and lengths that stay where
they belong.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import diffeo
from diffeo import latents
from diffeo.core import passes


def identity(*event: int) -> diffeo.Flow:
    """A flow whose latents are its events."""
    return diffeo.Flow(diffeo.Chain([]), diffeo.bases.Normal(event))


def recorded(flow: diffeo.Flow, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """How many rows go through either direction at a time."""
    seen: dict[str, list[int]] = {"encode": [], "decode": []}

    def spied(name: str, direction: Any) -> Any:
        def call(rows: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            seen[name].append(len(rows))
            assert context is None or len(context) == len(rows)
            return direction(rows, context)

        return call

    for name in seen:
        monkeypatch.setattr(flow, name, spied(name, getattr(flow, name)))
    return seen


@pytest.mark.parametrize(("side", "size"), [(512, 1), (256, 4), (8, 10)])
def test_large_events_go_one_by_one(side: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In both directions, whatever is asked."""
    flow = identity(1, side, side)
    seen, x = recorded(flow, monkeypatch), torch.randn(10, 1, side, side)
    pieces = [len(part) for part in x.split(size)]
    assert torch.equal(latents.reconstruct(flow, x), x)
    assert seen == {"encode": pieces, "decode": pieces}
    latents.interpolate(flow, x[0], x[1], steps=10)
    assert seen["decode"] == 2 * pieces
    latents.edit(flow, x[:2], x[3], strengths=torch.linspace(0, 1, 5))
    assert seen["decode"] == 3 * pieces


def test_contexts_keep_to_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = diffeo.models.glow((1, 8, 8), size="tiny", classes=3, bits=None)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    x, labels = torch.randn(7, 1, 8, 8), torch.arange(7) % 3
    whole = latents.encode_all(flow, x, labels), latents.decode_all(flow, x.flatten(1), labels)
    monkeypatch.setattr(passes, "NUMBERS", 3 * 64)
    seen = recorded(flow, monkeypatch)
    torch.testing.assert_close(latents.encode_all(flow, x, labels), whole[0])
    torch.testing.assert_close(
        latents.decode_all(flow, x.flatten(1), labels), whole[1], rtol=1e-4, atol=1e-4
    )
    assert seen == {"encode": [3, 3, 1], "decode": [3, 3, 1]}


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.6, 3.1, 3.14159, torch.pi])
@pytest.mark.parametrize("ratio", [1.0, 0.01, 50.0])
def test_lengths_change_along_a_line_and_ends_are_exact(angle: float, ratio: float) -> None:
    flow, g = identity(2), torch.tensor(angle)
    a, b = 3.3 * torch.tensor([1.0, 0.0]), 3.3 * ratio * torch.stack([g.cos(), g.sin()])
    path = latents.interpolate(flow, a, b, steps=7)
    assert torch.equal(path[0], a)
    assert torch.equal(path[-1], b)
    lengths = path.norm(dim=1)
    assert (lengths <= 1.001 * max(lengths[0], lengths[-1])).all()
    if angle < 3.14:  # opposite vectors have no great circle of their own
        torch.testing.assert_close(
            lengths, torch.linspace(float(a.norm()), float(b.norm()), 7), rtol=1e-3, atol=1e-3
        )
    if 0.1 < angle < 3.14:
        turned = torch.atan2(path[:, 1], path[:, 0])
        torch.testing.assert_close(turned, torch.linspace(0, angle, 7), rtol=1e-3, atol=1e-3)


def test_a_latent_of_zero_is_an_end_like_any_other() -> None:
    path = latents.interpolate(identity(2), torch.zeros(2), torch.tensor([3.0, 4.0]), steps=5)
    assert path.isfinite().all()
    assert torch.equal(path[0], torch.zeros(2))
    assert torch.equal(path[-1], torch.tensor([3.0, 4.0]))
