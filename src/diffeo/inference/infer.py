"""`infer`: from a log density to a posterior, trying harder until it passes the diagnostics."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.devices import usable_device
from ..core.errors import ConfigError
from ..core.numerics import covariance_of
from ..core.streams import Stream, generator_for
from ..flow import Flow
from ..models import default_model, models_for
from ..runs import lock_folder, stop_on_signals
from ..training import Progress, progress_callback
from .fitting.fitting import Fitting
from .fitting.limits import Limits
from .fitting.settings import Settings
from .fitting.training import AttemptTrainer
from .fitting.weighting import Weighting
from .modes.cuts import climb_and_cut
from .modes.laplace import Laplace, laplace
from .modes.survey import Survey, survey
from .objectives.divergences import ReverseKL, VariationalObjective
from .posterior import Posterior
from .search import EFFORTS, Effort, Search
from .target.space import Space
from .target.target import Target

__all__ = ["infer"]

AUTO_MINUTES = 10.0  # of effort="auto", which would else go through all attempts however slow
LEAST = {"batch_size": 2, "samples": 100}


def infer(
    log_density: Callable[..., Tensor],
    event_shape: int | Sequence[int] | Mapping[str, Any],
    *,
    support: Any = None,
    inside: Callable[[Any], Tensor] | None = None,
    effort: Effort = "auto",
    model: str | Flow = default_model("posterior"),
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
    device: str | torch.device | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool | Callable[[Progress], None] = False,
) -> Posterior:
    """Draws from p(x) = p̃(x) / Z, log Z with its error, and a verdict, from `log_density` = log p̃
    alone.

    `log_density` takes a batch of values, a tensor (B, *event) or with named parameters a dict of
    tensors, and returns (B,); `event_shape` and `support` are those of `Space.of`. Where `inside`,
    a function of the same values to (B,) of truth values, is false the density is zero, and
    `log_density` is not asked: for cuts that no support describes, such as `lambda x: x[:, 0] +
    x[:, 1] < 1`. A flow over unconstrained coordinates is fitted by reverse Kullback-Leibler
    divergence with path gradients, and its draws are weighted by p̃/q. The verdict compares them
    with tempered Monte Carlo from a wide start, which knows nothing of the flow. While they fail,
    `effort="auto"` goes on with the next of "flow", "particles" and "mcmc", or of
    "particles", "annealed" and "mcmc" where the maxima do not say what the target looks like; any
    other `effort` is that one alone:

    * "flow": starts from Laplace's approximation, or a mixture of them where climbs end in several
      maxima, if these account for the particles of the tempering; else from N(0, `scale`²) through
      tempered targets.
    * "particles": starts from the moments of the particles and learns from them too.
    * "annealed": from N(0, `scale`²) through tempered targets, more layers, twice the steps.
    * "fab": goes on from the annealed flow, bootstrapping annealed importance sampling.
    * "mcmc": Markov chains in the latent space of the best flow so far.

    The posterior tells what was tried. `model` may be a flow of your own over the unconstrained
    coordinates: a copy of it is trained, in "flow" without tempering. `objective` makes another
    objective of flow and target, such as `lambda f, p: AlphaDivergence(f, p, 0.5)`. `repeats` flows
    are fitted from other seeds and must agree about log Z; `reference`, draws of the posterior from
    elsewhere, gives an upper bound on log Z and shows modes that are missing. No check can tell of
    a mode that no climb, draw or chain ever met: make `scale` as wide as modes may lie apart.
    `minutes` ends the search, whatever it is at, and stands in `warnings` when it did;
    `effort="auto"` has 10 by default, any other has no limit. `device` is where flows are trained
    and where the log density gets its points, by default that of a flow of your own, or the CPU;
    draws and weights that come back are on the CPU. With `out`, attempts leave checkpoints there,
    and `resume` goes on from them.

    A first SIGINT, SIGTERM or SIGHUP ends the search: what there is is saved, and the signal is
    sent again, so that the process ends by it (SIGINT raises KeyboardInterrupt); where a handler of
    your own lets the program go on, a posterior is returned that is not `trusted`, with its
    `signum`. Another SIGINT, at least two seconds later, stops at once.

    Raises `InferenceError` when the log density cannot be used, `ConfigError` on wrong settings,
    `CheckpointError` when `out` is in use or of another log density or other settings.

    >>> import torch, diffeo
    >>> normal = lambda x: -0.5 * ((x - 3) / 2).square().sum(1)
    >>> posterior = diffeo.infer(normal, 2, steps=100, samples=2000)
    >>> posterior.trusted, round(posterior.log_z, 1)
    (True, 3.2)
    """
    _check(
        effort,
        model,
        steps=steps,
        batch_size=batch_size,
        samples=samples,
        repeats=repeats,
        layers=layers,
    )
    _check_sizes(lr=lr, scale=scale, **({} if minutes is None else {"minutes": minutes}))
    where = _device(device, model)
    target = Target(log_density, Space.of(event_shape, support), device=where, inside=inside)
    limit = _limit(minutes, effort)
    settings = Settings(
        model=model,
        layers=layers,
        hidden=tuple(hidden),
        objective=objective,
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        samples=samples,
        repeats=repeats,
        scale=scale,
        seed=seed,
        device=where,
    )
    if reference is not None:
        _check_reference(target.space.unconstrain(reference))
    folder = None if out is None else Path(out)
    report = progress_callback(progress)
    deadline = time.monotonic() + 60 * limit
    guard = contextlib.nullcontext() if folder is None else lock_folder(folder)
    with stop_on_signals() as stop, guard:
        limits = Limits(deadline, stop)
        target.check(generator_for(seed, Stream.TARGET_CHECK))
        known = _survey(target, settings, limits)
        fitting = Fitting(
            target=target,
            settings=settings,
            survey=known,
            trainer=AttemptTrainer(
                target=target,
                limits=limits,
                folder=folder,
                resume=resume,
                progress=report,
                first_seed=seed,
            ),
            weighting=Weighting(
                target=target,
                samples=samples,
                device=where,
                survey=known,
                # by the cuts of circles that the survey has chosen
                reference=None if reference is None else target.space.unconstrain(reference),
            ),
            limits=limits,
            start=_inside_start(target, scale, seed),
        )
        search = Search(
            fitting=fitting,
            progress=report,
            only=effort != "auto",
            minutes=limit,
            limit_is_default=minutes is None,
        )
        for name in search.plan() if effort == "auto" else (effort,):
            if search.attempt(name) or limits.should_stop():
                break
    return search.posterior()


def _device(device: str | torch.device | None, model: str | Flow) -> torch.device:
    if device is not None:
        return usable_device(device)
    return model.device if isinstance(model, Flow) else torch.device("cpu")


def _limit(minutes: float | None, effort: str) -> float:
    """The limit of time in minutes."""
    if minutes is not None:
        return minutes
    return AUTO_MINUTES if effort == "auto" else math.inf


def _survey(target: Target, settings: Settings, limits: Limits) -> Survey:
    """Maxima and particles, with the circles of the target's space cut open far from the maxima."""
    size = target.space.size

    def climb() -> list[Laplace]:
        return laplace(
            target,
            size,
            scale=settings.scale,
            seed=settings.seed,
            should_stop=limits.should_stop,
        )

    return survey(
        target,
        size,
        climb_and_cut(target, climb),
        scale=settings.scale,
        seed=settings.seed,
        should_stop=limits.should_stop,
    )


def _inside_start(target: Target, scale: float, seed: int) -> tuple[Tensor, Tensor] | None:
    """Mean and Cholesky factor of points in the declared region, where there is one."""
    if target.region.inside is None:
        return None
    points = target.region.points(target.space, scale, generator_for(seed, Stream.REGION)).double()
    floor = 1e-6 * scale**2 * torch.eye(points.shape[1], dtype=torch.float64)
    return points.mean(0), torch.linalg.cholesky(covariance_of(points) + floor)


def _check(effort: str, model: Any, **counts: Any) -> None:
    if effort not in EFFORTS:
        raise ConfigError(f"unknown effort {effort!r}: use {', '.join(EFFORTS)}")
    if not isinstance(model, Flow) and model not in models_for("posterior"):
        raise ConfigError(
            f"unknown model {model!r}: use one of {', '.join(models_for('posterior'))}, or give a"
            " flow"
        )
    for name, value in counts.items():
        if not isinstance(value, int) or value < LEAST.get(name, 1):
            raise ConfigError(
                f"{name} must be a whole number of at least {LEAST.get(name, 1)}, got {value!r}"
            )


def _check_reference(draws: Tensor) -> None:
    if len(draws) < 2:
        raise ConfigError(f"reference has {len(draws)} draws: give at least 2")


def _check_sizes(**sizes: float) -> None:
    for name, value in sizes.items():
        if not 0 < value < math.inf:
            raise ConfigError(f"{name} must be positive and finite, got {value!r}")
