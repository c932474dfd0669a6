"""Walks through latent space: from one event to another, and along what labels have in common."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .core.errors import DataError
from .core.passes import passes, rows_per_pass
from .core.seeds import seeder
from .flow import Flow

__all__ = ["attribute_direction", "edit", "interpolate", "reconstruct"]


@torch.no_grad()
def encode_all(flow: Flow, x: Tensor, context: Tensor | None = None, *, seed: int = 0) -> Tensor:
    """Latents (N, *base event) of events x (N, *event), in passes of bounded memory; noise
    comes from `seed`.
    """
    with seeder(flow)(seed):
        return _through(flow, flow.encode, x, context=context)


@torch.no_grad()
def decode_all(flow: Flow, z: Tensor, context: Tensor | None = None) -> Tensor:
    """Events (N, *event) of latents z (N, *base event), in passes of bounded memory."""
    return _through(flow, flow.decode, z, context=context)


def _through(
    flow: Flow,
    direction: Callable[..., tuple[Tensor, Tensor]],
    rows: Tensor,
    *,
    context: Tensor | None,
) -> Tensor:
    flow.eval()
    size = rows_per_pass(flow.event_shape)
    return torch.cat([direction(part, given)[0] for part, given in passes(rows, context, size)])


@torch.no_grad()
def reconstruct(
    flow: Flow, x: Tensor, context: Tensor | None = None, *, keep: int | None = None, seed: int = 0
) -> Tensor:
    """decode(encode(x)), the same events up to rounding; with `keep=k`, the latents of all but the
    k last scales redrawn.

    What the coarse scales alone determine is then seen, and what the fine ones add.
    """
    z = encode_all(flow, x, context, seed=seed)
    if keep is not None:
        parts = flow.unpack(z)
        fresh = flow.unpack(
            flow.base.sample((len(x),), generator=torch.Generator().manual_seed(seed))
        )
        z = flow.pack([*fresh[: max(0, len(parts) - keep)], *parts[max(0, len(parts) - keep) :]])
    return decode_all(flow, z, context)


@torch.no_grad()
def interpolate(
    flow: Flow,
    a: Tensor,
    b: Tensor,
    *,
    steps: int = 9,
    context: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """`steps` events (steps, *event) from a to b (*event) along the great circle between the
    directions of their latents.

    z_t = r_t [sin((1 − t)ω) z_a / |z_a| + sin(tω) z_b / |z_b|] / sin ω, ω the angle between them
    and r_t the length between theirs, (1 − t)|z_a| + t|z_b|: it stays typical of a normal base
    where the straight line is too short in the middle.

    >>> import torch, diffeo
    >>> flow = diffeo.models.glow((1, 8, 8), size="tiny")
    >>> black = torch.zeros(1, 8, 8, dtype=torch.uint8)
    >>> white = torch.full_like(black, 255)
    >>> diffeo.latents.interpolate(flow, black, white, steps=5).shape
    torch.Size([5, 1, 8, 8])
    """
    pair = None if context is None else context.expand(2, *(flow.context_shape or ()))
    z = encode_all(flow, torch.stack([a, b]), pair, seed=seed)
    t = torch.linspace(0, 1, steps, dtype=z.dtype, device=z.device)[:, None]
    path = _great_circle(z[0].flatten(), z[1].flatten(), t)
    along = None if context is None else context.expand(steps, *(flow.context_shape or ()))
    return decode_all(flow, path.reshape(steps, *z.shape[1:]), along)


def _great_circle(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Points (T, D) between a and b (D,) at t (T, 1): directions along the great circle, lengths
    along the straight line.
    """
    size_a = a.norm().clamp_min(1e-12)
    size_b = b.norm().clamp_min(1e-12)
    # Vectors that are parallel, or opposite, have no great circle: the angle keeps
    # away from both.
    omega = torch.acos((a @ b / (size_a * size_b)).clamp(-1, 1)).clamp(1e-4, math.pi - 1e-4)
    size = (1 - t) * size_a + t * size_b
    # Factors of a and b rather than of unit vectors, each 1 or 0 at the ends, so that these are
    # exact.
    share_a = torch.sin((1 - t) * omega) / torch.sin(omega)
    share_b = torch.sin(t * omega) / torch.sin(omega)
    path: Tensor = share_a * (size / size_a) * a + share_b * (size / size_b) * b
    return path


@torch.no_grad()
def attribute_direction(
    flow: Flow, x: Tensor, has: Tensor, *, context: Tensor | None = None, seed: int = 0
) -> Tensor:
    """Mean latent of the events that have an attribute minus that of the others: (*base event),
    Glow's manipulation.

    `has` (N,) is boolean. Kingma & Dhariwal 2018, arXiv:1807.03039, section 6. Raises `DataError`
    unless some events have the attribute and some do not.
    """
    has = has.bool().to(flow.device)
    if len(has) != len(x) or not bool(has.any()) or bool(has.all()):
        raise DataError(
            f"of {len(x)} events, {int(has.sum())} have the attribute: some must have it and some"
            " must not"
        )
    z = encode_all(flow, x, context, seed=seed)
    return z[has].mean(0) - z[~has].mean(0)


@torch.no_grad()
def edit(
    flow: Flow,
    x: Tensor,
    direction: Tensor,
    *,
    strengths: Tensor,
    context: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Events x (N, *event) moved along a direction: (N, len(strengths), *event); strength 0
    gives x back.
    """
    z = encode_all(flow, x, context, seed=seed)
    flat = strengths.to(z).view(-1, *[1] * (z.dim() - 1))
    moved = z[:, None] + flat * direction
    contexts = None if context is None else context.repeat_interleave(len(strengths), 0)
    images = decode_all(flow, moved.flatten(0, 1), contexts)
    return images.reshape(len(x), len(strengths), *flow.event_shape)
