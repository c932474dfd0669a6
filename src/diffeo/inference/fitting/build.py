"""The flow that an attempt trains, and the distribution it starts from."""

from __future__ import annotations

import copy
import math
from math import prod

import torch
from torch import Tensor, nn

from ...bases import Base, StudentT
from ...core.chain import Chain
from ...errors import ConfigError
from ...flow import Flow
from ...layers import Flatten, Whiten
from ...models import SPECS
from ..modes.laplace import MOST_MODES
from ..modes.mixture import gaussian_of, mixture_of
from ..modes.survey import Survey
from .settings import Settings

__all__ = ["build", "maxima_describe_target"]

MORE_LAYERS = 4  # where the target is no mixture of normals
# share of the particles that maxima have to account for, to be what a flow starts from
LEAST_DESCRIBED = 0.7
DEGREES_OF_FREEDOM = (2.0, 3.0, 5.0, 10.0)  # of a base with heavy tails
# nats per dimension by which Student's t must describe particles better than a normal
LEAST_GAIN = 0.02


def build(
    size: int,
    settings: Settings,
    survey: Survey,
    *,
    name: str,
    start: tuple[Tensor, Tensor] | None = None,
) -> Flow:
    """A flow over R^D: that of the caller, or one behind a fixed linear map from which it starts.

    "flow" starts from Laplace's approximation, a mixture of them where there are several maxima, if
    these describe the target; "particles" with the moments of the particles, and heavy tails where
    they have them; "annealed", and "flow" where nothing is known, from N(0, scale²) or the mean
    (D,) and Cholesky factor (D, D) of `start`. All but the first have more layers.
    """
    if isinstance(settings.model, Flow):
        return _over_vectors(copy.deepcopy(settings.model), size)
    from_maxima = name == "flow" and maxima_describe_target(survey)
    inner = _inner(
        size, settings, settings.layers if from_maxima else settings.layers + MORE_LAYERS
    )
    base = inner.base
    whiten = Whiten(size, data_dtype="float64")
    assert isinstance(base, Base)
    assert isinstance(inner.transform, nn.Module)
    if from_maxima:
        mean, lower = gaussian_of(survey.maxima)
        whiten.place(mean, lower)
        base = base if len(survey.maxima) == 1 else mixture_of(survey.maxima, mean, lower)
    elif name == "particles":
        draws = survey.draws()
        whiten.initialize(draws)
        base = _heavy_tailed(whiten(draws)[0].double()) or base
    else:
        whiten.place(*(start or (torch.zeros(size), settings.scale * torch.eye(size))))
    return Flow(Chain([whiten, inner.transform]), base)


def maxima_describe_target(survey: Survey) -> bool:
    """Do the Gaussians at the maxima account for the particles, as far as there are any?"""
    few = 0 < len(survey.maxima) <= MOST_MODES and all(m.proper for m in survey.maxima)
    return few and (survey.described >= LEAST_DESCRIBED or not survey.complete)


def _inner(size: int, settings: Settings, layers: int) -> Flow:
    assert isinstance(settings.model, str)
    spec = SPECS[settings.model]
    return spec.build(
        (size,),
        layers=layers,
        hidden=settings.hidden,
        mixing="lu" if size > 1 else "none",
        seed=settings.seed,
        **spec.recommended["posterior"],
    )


def _heavy_tailed(y: Tensor) -> Base | None:
    """Student's t that describes whitened particles (N, D) clearly better than a normal does, entry
    by entry.
    """
    size = y.shape[1]
    spread = y.abs().quantile(0.5, 0) / 0.6745
    normal = float(-0.5 * (y.square().mean() + math.log(2 * math.pi)))
    best: Base | None = None
    most = LEAST_GAIN
    for df in DEGREES_OF_FREEDOM:
        base = StudentT((size,), df=df)
        log_prob = float(base.log_prob(y / spread).mean()) / size - float(spread.log().mean())
        if log_prob - normal > most:
            best = base
            most = log_prob - normal
    return best


def _over_vectors(flow: Flow, size: int) -> Flow:
    if flow.context_shape is not None or not flow.exact:
        raise ConfigError("infer takes flows without context and without dequantisation")
    if prod(flow.event_shape) != size:
        raise ConfigError(
            f"the flow is of events {tuple(flow.event_shape)}, the space has {size} unconstrained"
            " coordinates"
        )
    if flow.event_shape == (size,):
        return flow
    return Flow(Chain([Flatten(flow.event_shape).inv, flow.transform]), flow.base)
