"""Is there mass that the flow's draws never meet? Short Markov chains go and look."""

from __future__ import annotations

import torch
from torch import Tensor

from ..flow import Flow
from .diagnostics import lost_modes
from .hmc import LogDensity
from .mcmc import latent_chains

__all__ = ["beyond"]

CHAINS, WARMUP, STEPS = 256, 40, 10


@torch.no_grad()
def beyond(target: LogDensity, flow: Flow, log_weights: Tensor, *, seed: int = 0, deadline: float | None = None) -> float:
    """The share of the target's mass where weights p̃/q exceed every one of log_weights (N,), by short chains from the flow.

    Weights tell nothing of places where no draw fell: the tails of a funnel or the ends of a banana. Hamiltonian moves
    along the target's gradient reach them from the flow's own draws, and stay in proportion to their mass. What no path
    connects, another mode, they do not find. Costs some 50,000 gradients.

    >>> import diffeo
    >>> narrow = diffeo.Flow(diffeo.Chain([diffeo.layers.Permute([1, 0])]), diffeo.bases.Normal(2))
    >>> log_p = lambda u: -0.5 * (u / 3).square().sum(1)
    >>> u, log_q = narrow.sample_and_log_prob((1000,))
    >>> beyond(log_p, narrow, log_p(u) - log_q) > 0.3
    True
    """
    chains = latent_chains(target, flow, chains=CHAINS, warmup=WARMUP, steps=STEPS, seed=seed, deadline=deadline)
    u = chains.samples.flatten(0, 1)
    return lost_modes(log_weights, target(u).double() - flow.log_prob(u).double())
