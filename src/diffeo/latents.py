"""Walks through latent space: from one event to another, and along what labels have in common."""

from __future__ import annotations

import torch
from torch import Tensor

from .core.errors import DataError
from .core.seeds import seeded
from .flow import Flow

__all__ = ["attribute_direction", "edit", "interpolate", "reconstruct"]

ROWS = 64  # events encoded at a time


@torch.no_grad()
def encode_all(flow: Flow, x: Tensor, context: Tensor | None = None, *, seed: int = 0) -> Tensor:
    """Latents (N, \\*base event) of events x (N, \\*event), in passes of bounded memory; noise comes from `seed`."""
    contexts = [None] * len(x.split(ROWS)) if context is None else list(context.split(ROWS))
    flow.eval()
    with seeded(seed):
        return torch.cat([flow.encode(rows, own)[0] for rows, own in zip(x.split(ROWS), contexts, strict=True)])


@torch.no_grad()
def reconstruct(flow: Flow, x: Tensor, context: Tensor | None = None, *, keep: int | None = None, seed: int = 0) -> Tensor:
    """decode(encode(x)), the same events up to rounding; with `keep=k`, the latents of all but the k last scales redrawn.

    What the coarse scales alone determine is then seen, and what the fine ones add.
    """
    z = encode_all(flow, x, context, seed=seed)
    if keep is not None:
        parts = flow.unpack(z)
        fresh = flow.unpack(flow.base.sample((len(x),), generator=torch.Generator().manual_seed(seed)))
        z = flow.pack([*fresh[: max(0, len(parts) - keep)], *parts[max(0, len(parts) - keep) :]])
    return flow.decode(z, context)[0]


@torch.no_grad()
def interpolate(flow: Flow, a: Tensor, b: Tensor, steps: int = 9, context: Tensor | None = None, *, seed: int = 0) -> Tensor:
    """`steps` events (steps, \\*event) from a to b (\\*event) along the great circle between their latents.

    z_t = [sin((1 − t)ω) z_a + sin(tω) z_b] / sin ω, ω the angle between them, which keeps the length typical of a normal
    base where the straight line is too short in the middle.

    >>> import torch, diffeo
    >>> flow = diffeo.models.glow((1, 8, 8), size="tiny")
    >>> black, white = torch.zeros(1, 8, 8, dtype=torch.uint8), torch.full((1, 8, 8), 255, dtype=torch.uint8)
    >>> diffeo.latents.interpolate(flow, black, white, steps=5).shape
    torch.Size([5, 1, 8, 8])
    """
    pair = None if context is None else context.expand(2, *(flow.context_shape or ()))
    z = encode_all(flow, torch.stack([a, b]), pair, seed=seed)
    ends = z.flatten(1)
    cosine = (ends[0] @ ends[1] / (ends[0].norm() * ends[1].norm()).clamp_min(1e-12)).clamp(-1, 1)
    omega = torch.acos(cosine).clamp_min(1e-4)
    t = torch.linspace(0, 1, steps, dtype=z.dtype, device=z.device)[:, None]
    path = (torch.sin((1 - t) * omega) * ends[0] + torch.sin(t * omega) * ends[1]) / torch.sin(omega)
    along = None if context is None else context.expand(steps, *(flow.context_shape or ()))
    return flow.decode(path.reshape(steps, *z.shape[1:]), along)[0]


@torch.no_grad()
def attribute_direction(flow: Flow, x: Tensor, has: Tensor, context: Tensor | None = None, *, seed: int = 0) -> Tensor:
    """Mean latent of the events that have an attribute minus that of the others: (\\*base event), Glow's manipulation.

    `has` (N,) is boolean. Kingma & Dhariwal 2018, arXiv:1807.03039, section 6. Raises `DataError` unless some events have
    the attribute and some do not.
    """
    has = has.bool().to(flow.device)
    if len(has) != len(x) or not bool(has.any()) or bool(has.all()):
        raise DataError(f"of {len(x)} events, {int(has.sum())} have the attribute: some must have it and some must not")
    z = encode_all(flow, x, context, seed=seed)
    return z[has].mean(0) - z[~has].mean(0)


@torch.no_grad()
def edit(flow: Flow, x: Tensor, direction: Tensor, strengths: Tensor, context: Tensor | None = None, *, seed: int = 0) -> Tensor:
    """Events x (N, \\*event) moved along a direction: (N, len(strengths), \\*event); strength 0 gives x back."""
    z = encode_all(flow, x, context, seed=seed)
    flat = strengths.to(z).view(-1, *[1] * (z.dim() - 1))
    moved = z[:, None] + flat * direction
    own = None if context is None else context.repeat_interleave(len(strengths), 0)
    images = flow.decode(moved.flatten(0, 1), own)[0]
    return images.reshape(len(x), len(strengths), *flow.event_shape)
