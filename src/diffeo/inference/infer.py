"""`infer`: from a log density to a posterior, trying harder until the result can be trusted."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.errors import ConfigError
from ..core.seeds import seeded
from ..flow import Flow
from ..training import Progress
from ..training.fit import lines
from ..training.lock import locked
from ..training.sampler import mix
from ..training.signals import stop_on_signals
from .cuts import climb_and_cut
from .fitting import MODELS, Fitting, Settings
from .laplace import laplace
from .objectives import ReverseKL, VariationalObjective
from .posterior import Posterior
from .search import ORDER, Effort, Search
from .space import Space
from .target import Target

__all__ = ["infer"]

LEAST = {"batch_size": 2, "samples": 100}


def infer(
    log_density: Callable[..., Tensor],
    event_shape: int | Sequence[int] | Mapping[str, Any],
    *,
    support: Any = None,
    effort: Effort = "auto",
    model: Literal["nsf", "realnvp"] | Flow = "nsf",
    layers: int = 6,
    hidden: Sequence[int] = (64, 64),
    objective: Callable[[Flow, Target], VariationalObjective] = ReverseKL,
    steps: int = 2_000,
    batch_size: int = 256,
    lr: float = 2e-3,
    samples: int = 10_000,
    repeats: int = 1,
    reference: Any = None,
    scale: float = 1.0,
    minutes: float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool | Callable[[Progress], None] = False,
) -> Posterior:
    """Draws from p(x) = p̃(x) / Z, log Z with its error, and a verdict, from `log_density` = log p̃ alone.

    `log_density` takes a batch of values, a tensor (B, \\*event) or with named parameters a dict of tensors, and returns
    (B,); `event_shape` and `support` are those of `Space.of`. A flow over unconstrained coordinates is fitted by
    reverse Kullback-Leibler divergence with path gradients, and its draws are weighted by p̃/q. While the verdict is
    not to trust them, `effort="auto"` goes on; any other `effort` is that one alone:

    * "flow": starts from Laplace's approximation, or a mixture of them where the climbs from N(0, `scale`²) end in
      several maxima and find them all; else from N(0, `scale`²) through tempered targets.
    * "annealed": from N(0, `scale`²) through tempered targets, more layers, twice the steps.
    * "fab": goes on from the annealed flow, bootstrapping annealed importance sampling.
    * "mcmc": Markov chains in the latent space of the best flow so far.

    The posterior tells what was tried. `model` may be a flow of your own over the unconstrained coordinates: a copy of
    it is trained, in "flow" without tempering. `objective` makes another objective of flow and target, such as
    `lambda f, p: AlphaDivergence(f, p, 0.5)`. `repeats` flows are fitted from other seeds and must agree about log Z;
    `reference`, draws of the posterior from elsewhere, gives an upper bound on log Z and shows modes that are
    missing. No check can tell of a mode that no climb, draw or chain ever met: make `scale` as wide as modes may lie
    apart. `minutes` ends the search. With `out`, attempts leave checkpoints there, and `resume` goes on from them.

    A first SIGINT, SIGTERM or SIGHUP ends the search: what there is is saved, and the signal is sent again, so that the
    process ends by it (SIGINT raises KeyboardInterrupt); where a handler of your own lets the program go on, a posterior
    is returned that is not to be trusted, with its `signum`. Another SIGINT, at least two seconds later, stops at once.

    Raises `InferenceError` when the log density cannot be used, `ConfigError` on wrong settings, `CheckpointError` when
    `out` is in use or of another log density or other settings.

    >>> import torch, diffeo
    >>> posterior = diffeo.infer(lambda x: -0.5 * ((x - 3) / 2).square().sum(1), 2, steps=100, samples=2000)
    >>> posterior.trusted, round(posterior.log_z, 1)
    (True, 3.2)
    """
    _check(effort, model, steps=steps, batch_size=batch_size, samples=samples, repeats=repeats, layers=layers)
    _check_sizes(lr=lr, scale=scale, **({} if minutes is None else {"minutes": minutes}))
    target = Target(log_density, Space.of(event_shape, support))
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    chosen = Settings(model, layers, tuple(hidden), objective, steps, batch_size, lr, samples, repeats, scale, seed, deadline)
    known = None if reference is None else target.space.unconstrain(reference)
    if known is not None and len(known) < 2:
        raise ConfigError(f"reference has {len(known)} draws: give at least 2")
    folder = None if out is None else Path(out)
    tell = progress if callable(progress) else lines() if progress else None
    guard = contextlib.nullcontext() if folder is None else locked(folder)
    with seeded(seed), stop_on_signals() as stop, guard:
        target.check(torch.Generator().manual_seed(mix(seed, 10)))
        fitting = Fitting(target, chosen, [], known, folder, resume, tell, stop)
        fitting.maxima = climb_and_cut(
            target, lambda: laplace(target, target.space.size, scale=scale, seed=seed, over=fitting.over)
        )
        if known is not None:  # in the coordinates of the cuts that were chosen
            fitting.reference = target.space.unconstrain(reference)
        search = Search(fitting, only=effort != "auto")
        for name in ORDER if effort == "auto" else (effort,):
            if search.attempt(name) or search.fitting.over():
                break
    return search.posterior()


def _check(effort: str, model: Any, **counts: Any) -> None:
    if effort != "auto" and effort not in ORDER:
        raise ConfigError(f"unknown effort {effort!r}: use auto, {', '.join(ORDER)}")
    if not isinstance(model, Flow) and model not in MODELS:
        raise ConfigError(f"unknown model {model!r}: use one of {', '.join(MODELS)}, or give a flow")
    for name, value in counts.items():
        if not isinstance(value, int) or value < LEAST.get(name, 1):
            raise ConfigError(f"{name} must be a whole number of at least {LEAST.get(name, 1)}, got {value!r}")


def _check_sizes(**sizes: float) -> None:
    for name, value in sizes.items():
        if not 0 < value < math.inf:
            raise ConfigError(f"{name} must be positive and finite, got {value!r}")
