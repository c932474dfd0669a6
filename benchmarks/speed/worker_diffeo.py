"""diffeo's own models."""

from __future__ import annotations

import torch
from worker import Contender, Settings, Skip, rows, serve
from worker_torch import contender, start

import diffeo
from diffeo.core.errors import DiffeoError
from diffeo.kernels import which


def build(s: Settings) -> Contender:
    start(s)
    make = diffeo.models.MODELS[s.model]
    arguments = arguments_of(s)
    try:
        flow = make(tuple(s.shape), **arguments)
    except (TypeError, DiffeoError) as error:  # an older diffeo may lack a setting
        raise Skip(f"this {s.model} cannot be built with {arguments}: {error}") from None
    if s.model == "glow":
        flow.initialize(torch.from_numpy(rows(s, s.batch)))
    return contender(
        "diffeo", flow, flow.log_prob, lambda n: flow.sample((n,)), f"kernels: {which()}"
    )


def arguments_of(s: Settings) -> dict[str, object]:
    """The model's arguments, from the settings of the row."""
    if s.model == "glow":
        known = {"scales": s.scales, "steps": s.steps, "width": s.width, "bits": None}
    else:
        known = {
            "layers": s.layers,
            "hidden": s.hidden,
            **({"bins": s.bins} if s.model == "nsf" else {}),
        }
    return {**known, **({"memory": s.memory} if hasattr(s, "memory") else {})}


if __name__ == "__main__":
    serve(build)
