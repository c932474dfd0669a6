"""What `infer` returns: draws with weights, figures, and a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..flow import Flow
from .chains.mcmc import Chains
from .target.space import Space, Value
from .weights.diagnostics import Diagnostics

if TYPE_CHECKING:
    import pandas

__all__ = ["Attempt", "Posterior"]

QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Attempt:
    """One thing that was tried, and what came of it."""

    name: str
    trusted: bool
    reasons: list[str]
    diagnostics: Diagnostics
    steps: int
    seconds: float
    evaluations: int


@dataclass(frozen=True, eq=False)
class Posterior:
    """Draws of a flow over unconstrained coordinates with importance weights, or of Markov chains,
    and whether they passed the diagnostics.

    `draws` (N, D) are unconstrained, `log_weights` (N,) normalised and Pareto-smoothed; draws of
    chains have equal ones.
    """

    flow: Flow = field(repr=False)
    space: Space
    draws: Tensor = field(repr=False)
    log_weights: Tensor = field(repr=False)
    diagnostics: Diagnostics
    trusted: bool
    warnings: list[str]
    attempts: list[Attempt] = field(repr=False)
    counts: dict[str, int] = field(repr=False)
    history: list[dict[str, Any]] = field(repr=False)
    chains: Chains | None = field(default=None, repr=False)
    signum: int | None = field(default=None, repr=False)
    """The signal that ended the search early, if one did."""

    @property
    def elbo(self) -> float:
        """Lower bound on log Z of the flow, nats."""
        return self.diagnostics.elbo

    @property
    def log_z(self) -> float:
        """log ∫ p̃ by importance sampling from the flow, or, where chains ran, by a bridge between
        their states and draws of the flow (Meng & Wong 1996); `log_z_se` is its standard error.
        """
        return self.diagnostics.log_z

    @property
    def log_z_se(self) -> float:
        """Standard error of `log_z`."""
        return self.diagnostics.log_z_se

    @property
    def ess(self) -> float:
        """Effective sample size of the flow's draws, as a share of them."""
        return self.diagnostics.ess

    @property
    def k_hat(self) -> float:
        """Pareto shape of the weights' tail: up to 0.7 they can be averaged."""
        return self.diagnostics.k_hat

    def sample(self, n: int, *, seed: int = 0) -> Value:
        """n draws of the posterior, in its supports: `draws` taken in proportion to their
        weights.
        """
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.multinomial(self.log_weights.exp(), n, replacement=True, generator=generator)
        return self.space.constrain(self.draws[chosen])[0]

    def log_prob(self, value: Value) -> Tensor:
        """The flow's log density (B,) of values, normalised: log q(u) − log|det ∂x/∂u|; within
        `inside`, where declared.
        """
        u = self.space.unconstrain(value)
        with torch.no_grad():
            log_q = self.flow.log_prob(u.to(self.flow.dtype)).to(u.device)
            return (
                log_q
                - self.space.constrain(u)[1]
                - math.log1p(-min(self.diagnostics.declared_share, 1 - 1e-12))
            )

    def columns(self) -> Tensor:
        """All draws as columns (N, len(space.names)), in float64."""
        return self.space.flatten(self.space.constrain(self.draws.double())[0])

    def summary(self) -> list[dict[str, float | str]]:
        """Mean, standard deviation and 5, 50, 95 % quantiles of every entry, weighted.

        On circles the mean is the direction of E e^{iθ}, the standard deviation √(−2 log |E
        e^{iθ}|), in the units of the entry; quantiles are those of the distances from the mean,
        within half a turn, added to it and wrapped into [LOW, HIGH), so that the 5 % one may be the
        larger number.
        """
        x = self.columns()
        weights = self.log_weights.exp().double()
        return [self._row(name, x[:, i], weights) for i, name in enumerate(self.space.names)]

    def unrolled(self, x: Tensor) -> Tensor:
        """Columns (N, len(space.names)) with circles as numbers within half a turn of their mean,
        for pictures and ranks.
        """
        x = x.double().clone()
        weights = torch.ones(len(x), dtype=torch.float64)
        for name, circle in self.space.circles.items():
            i = self.space.names.index(name)
            x[:, i] = circle.around(x[:, i], circle.mean_and_sd(x[:, i], weights)[0])
        return x

    def _row(self, name: str, x: Tensor, weights: Tensor) -> dict[str, float | str]:
        circle = self.space.circles.get(name)
        if circle is None:
            mean = float(weights @ x)
            sd = float((weights @ (x - mean) ** 2).sqrt())
            cuts = _quantiles(x, weights, QUANTILES)
        else:
            mean, sd = circle.mean_and_sd(x, weights)
            cuts = circle.wrap(
                torch.tensor(_quantiles(circle.around(x, mean), weights, QUANTILES)).double()
            ).tolist()
        named = {f"q{round(100 * q)}": value for q, value in zip(QUANTILES, cuts, strict=True)}
        return {"name": name, "mean": mean, "sd": sd, **named}

    def to_dataframe(self, n: int | None = None, *, seed: int = 0) -> pandas.DataFrame:
        """n draws (as many as there are, by default) with a column for each entry. Needs pandas."""
        import pandas

        value = self.sample(len(self.draws) if n is None else n, seed=seed)
        return pandas.DataFrame(
            self.space.flatten(value).double().numpy(), columns=list(self.space.names)
        )

    def to_arviz(self, n: int = 1000, *, seed: int = 0) -> Any:
        """n draws as ArviZ's inference data, chains as chains where there are any. Needs arviz."""
        import arviz

        if self.chains is not None:
            shape = self.chains.samples.shape[:2]
            value = self.space.constrain(self.chains.samples.flatten(0, 1))[0]
        else:
            shape = torch.Size([1, n])
            value = self.sample(n, seed=seed)
        named = value if isinstance(value, dict) else {"x": value}
        groups = {
            "posterior": {k: v.reshape(*shape, *v.shape[1:]).numpy() for k, v in named.items()}
        }
        # ArviZ 1.0 takes the groups as one mapping, before they were arguments.
        from_dict: Any = arviz.from_dict
        return (
            from_dict(groups) if int(arviz.__version__.split(".")[0]) >= 1 else from_dict(**groups)
        )

    def as_dict(self) -> dict[str, Any]:
        """Figures for JSON."""
        attempts = [
            {"name": a.name, "trusted": a.trusted, "reasons": a.reasons, "seconds": a.seconds}
            for a in self.attempts
        ]
        return {
            "trusted": self.trusted,
            "warnings": self.warnings,
            **self.diagnostics.as_dict(),
            **self.counts,
            "attempts": attempts,
            "summary": self.summary(),
        }


def _quantiles(x: Tensor, weights: Tensor, levels: Sequence[float]) -> list[float]:
    order = x.argsort()
    below = weights[order].cumsum(0)
    return [
        float(x[order][(below < level * below[-1]).sum().clamp_max(len(x) - 1)]) for level in levels
    ]
