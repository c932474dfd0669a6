"""How the flow of a posterior was trained: its objective over the steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..page import plots
from ..page.content import Part, Pictured, number

if TYPE_CHECKING:
    from ...inference import Attempt, Posterior

__all__ = ["objective"]

HELD = (
    "Orange: the negative ELBO of the target itself at held-out draws, always the same noise, with"
    " the averaged weights; the weights kept are those where it is least. Only by chance can it"
    " fall below −log Z. Draws outside the support count by the share that they are."
)
BLUE = "Blue: the objective over batches, the negative ELBO unless another was chosen."
DRAWN = {
    "flow": (
        f"{BLUE} Where Laplace's approximation says too little to start from, its target is"
        " tempered at first."
    ),
    "annealed": (
        f"{BLUE} Its target is tempered: an easy density at first, which becomes the posterior in"
        " the course of the run; until then the lines do not compare."
    ),
}
FAB = (
    "The objective of FAB over batches: a weighted −log q at points near the posterior, found by"
    " annealed importance sampling. It is no bound on log Z. The last weights are kept."
)


def objective(p: Posterior) -> list[Part]:
    """The losses of the flow that the draws, or the chains, come from."""
    name = trained_by(p)
    picture, words = _fab(p.history) if name == "fab" else _elbo(p, name)
    if picture is None:
        return [Pictured(None, ["The run left no losses to draw."])]
    if len(p.attempts) > 1:
        words.insert(
            0,
            f"Of the attempt {name}, from whose flow the"
            f" {'draws' if p.chains is None else 'chains'} are.",
        )
    return [Pictured(picture, words, alt="objective over steps")]


def _elbo(p: Posterior, name: str) -> tuple[str | None, list[str]]:
    floor = (-p.log_z, "−log Z") if math.isfinite(p.log_z) else None
    picture = plots.loss_curves(
        p.history, _kept(p.history), label="negative ELBO, nats", rows="draws", floor=floor
    )
    return picture, [HELD, DRAWN.get(name, BLUE), *_start(p.history)]


def _fab(history: list[dict[str, Any]]) -> tuple[str | None, list[str]]:
    trained = [{"step": entry["step"], "train": entry.get("train")} for entry in history]
    return plots.loss_curves(trained, None, label="loss of FAB, nats"), [FAB]


def trained_by(p: Posterior) -> str:
    """The name of the attempt that fitted the flow; chains that were tried alone fit one as `flow`
    does.
    """
    fitted = [a for a in p.attempts if a.name != "mcmc"]
    return next((a.name for a in fitted if _same(a, p)), fitted[-1].name if fitted else "flow")


def _same(attempt: Attempt, p: Posterior) -> bool:
    return attempt.diagnostics is p.diagnostics or attempt.diagnostics == p.diagnostics


def _kept(history: list[dict[str, Any]]) -> float | None:
    valid = [
        (h["valid"], h["step"])
        for h in history
        if isinstance(h.get("valid"), (int, float)) and math.isfinite(h["valid"])
    ]
    return float(min(valid)[1]) if valid else None


def _start(history: list[dict[str, Any]]) -> list[str]:
    """Where the validation line begins and ends: the picture may cut off the beginning."""
    valid = [h["valid"] for h in history if isinstance(h.get("valid"), (int, float))]
    if not valid:
        return []
    begin = number(valid[0], 3)
    end = number(valid[-1], 3)
    return [
        f"The orange line goes from {begin} to {end} nats; where it begins far above its end, the"
        " picture cuts that off."
    ]
