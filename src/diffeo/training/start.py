"""Where training of a table starts, and what it falls back to, so that no fit ends above the
linear-Gaussian model.

Couplings learn slowly what a linear map says at once: that a column is nearly the sum of others, or
nearly its context. Such columns, and only these, are taken out first (`layers.Regress`); all other
axes stay, for those of a table mean something.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..card import Built
from ..core.links import Links, context_for
from ..core.seeds import seeded
from ..core.streams import Stream, mix
from ..flow import Flow
from ..layers import Regress, Standardize
from ..models import MODELS
from .dataset import Dataset
from .evaluate import log_probs

__all__ = ["NEAR", "Beginning", "Start", "begin", "fall_back", "set_up", "take_out", "undo"]

NEAR = 0.01  # share of its variance that a column may keep to be taken out (benchmarks/start.py)
JUDGES = 10_000  # held-out rows that are asked


@dataclass(frozen=True, kw_only=True)
class Start:
    """How a flow began: `regress` is the argument of its model, `left` the share of its variance
    that each column kept.
    """

    regress: float
    left: dict[str, float]
    before: float | None
    """Held-out nll of the flow without it: at the start, or, where the fit fell back on a Gaussian,
    at the end.
    """
    after: float | None

    @property
    def reason(self) -> str:
        """In words."""
        if self.regress >= 1:
            return (
                "the flow ended above the Gaussian with the same means and covariances"
                f" ({self.before:.4f} against {self.after:.4f} on held-out rows), so that Gaussian"
                " was kept: give it more steps or more rows"
            )
        few = sorted(self.left, key=self.left.__getitem__)
        named = ", ".join(
            f"{name} (all but {self.left[name]:.2g} of its variance)" for name in few[:5]
        )
        more = f" and {len(few) - 5} more" if len(few) > 5 else ""
        return (
            "taken out first, as the other columns or the context nearly determine it:"
            f" {named}{more}"
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, with the reason in words."""
        return asdict(self) | {"reason": self.reason}


@dataclass(frozen=True)
class Beginning:
    """The training rows that a flow was set up on, where a Gaussian may take its place, and what
    was taken out of their columns, if anything was.
    """

    rows: list[Tensor] | None = None
    start: Start | None = None


def begin(flow: Flow, data: Dataset, seed: int, *, likelihood: bool) -> Beginning:
    """Set a flow up from data; for maximum likelihood, also take out what is nearly determined."""
    rows = data.set_up_rows(flow, seed)
    if not likelihood:  # whatever else comes with a row is for the objective alone
        set_up(flow, rows[: 1 if flow.context_shape is None else 2], seed)
        return Beginning()
    set_up(flow, rows, seed)
    return Beginning(rows, take_out(flow, rows, valid=data.valid, names=data.names, seed=seed))


def take_out(
    flow: Flow,
    rows: Sequence[Tensor],
    *,
    valid: Sequence[Tensor] | None,
    names: Sequence[str] | None,
    seed: int,
) -> Start | None:
    """Put a `Regress` before the standardisation of a flow that was set up on `rows`, if held-out
    rows are likelier so.
    """
    if not _takes(flow) or flow.card.args["regress"] is not None:
        return None
    assert isinstance(flow.transform, Links)
    links = list(flow.transform)
    index = next(i for i, link in enumerate(links) if isinstance(link, Standardize))
    standardize = links[index]
    assert isinstance(standardize, Standardize)
    regress = Regress(flow.event_shape, flow.context_shape, share=NEAR, skip=standardize.skip).to(
        flow.device, flow.dtype
    )
    _fit(regress, links[:index], flow=flow, rows=rows, seed=seed)
    if not bool(regress.taken.any()):
        return None
    plain = flow.transform
    before = _held_out(flow, valid, seed)
    flow.transform = type(plain)([*links[:index], regress, *links[index:]])
    set_up(flow, rows, seed)
    after = _held_out(flow, valid, seed)
    if before is not None and after is not None and not after < before:
        flow.transform = plain
        set_up(flow, rows, seed)
        return None
    _note(flow, NEAR)
    taken = regress.taken.nonzero().flatten().tolist()
    left = {names[i] if names else f"x{i}": regress.residual[i].square().item() for i in taken}
    return Start(regress=NEAR, left=left, before=before, after=after)


def fall_back(
    flow: Flow,
    rows: Sequence[Tensor],
    *,
    seed: int,
    best: float,
    validate: Callable[[], float],
) -> Start | None:
    """Make a trained flow the linear-Gaussian model of `rows`, if held-out rows are likelier under
    that than `best`.
    """
    if not _takes(flow) or flow.card.args["regress"] == 0:
        return None
    trained = flow.transform, flow.base, flow.embedding, flow.card
    _rebuild(flow, 1.0)
    set_up(flow, rows, seed)
    nll = validate()
    if nll < best:
        return Start(regress=1.0, left={}, before=best, after=nll)
    flow.transform, flow.base, flow.embedding, flow.card = trained
    return None


def undo(flow: Flow) -> None:
    """The flow as it was before a start was chosen for it, its weights new."""
    _rebuild(flow, None)


def set_up(flow: Flow, rows: Sequence[Tensor], seed: int) -> None:
    """Data-dependent set-up; noise that it needs comes from `seed`."""
    with seeded(mix(seed, Stream.SET_UP)):
        flow.initialize(*rows)


def _takes(flow: Flow) -> bool:
    """Is it a model of vectors that knows of `regress`?"""
    return isinstance(flow.transform, Links) and "regress" in flow.card.args


def _note(flow: Flow, share: float | None) -> None:
    built = flow.card.built
    assert built is not None
    args = {**built.args, "regress": share}
    flow.card = flow.card.having(built=Built(model=built.model, args=args))


def _rebuild(flow: Flow, share: float | None) -> None:
    assert flow.card.model is not None
    other = MODELS[flow.card.model](**flow.card.args | {"regress": share})
    other.to(flow.device, flow.dtype)
    flow.transform = other.transform
    flow.base = other.base
    flow.embedding = other.embedding
    flow.card = flow.card.having(built=other.card.built)


@torch.no_grad()
def _fit(
    regress: Regress, front: Sequence[Any], *, flow: Flow, rows: Sequence[Tensor], seed: int
) -> None:
    """As in the chain, but without the links that come after it."""
    x = rows[0].to(flow.device)
    context = None
    with seeded(mix(seed, Stream.SET_UP)):
        if flow.context_shape is not None:
            context = rows[1].to(flow.device)
            context = (
                flow.embedding(context) if flow.embedding is not None else context.to(flow.dtype)
            )
        for link in front:
            x, _ = link(x, context_for(link, context))
        regress.initialize(x, context)


def _held_out(flow: Flow, valid: Sequence[Tensor] | None, seed: int) -> float | None:
    if valid is None:
        return None
    nll = -log_probs(flow, *(part[:JUDGES] for part in valid), seed=seed).double().mean().item()
    return nll if math.isfinite(nll) else None
