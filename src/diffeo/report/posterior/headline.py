"""The headline of a posterior: whether to trust its draws and why, then the figures and what each
of them means.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

from ...inference.weights.diagnostics import even, verdict
from ..page.content import Grid, Heading, Part, Words, number, plus_minus

if TYPE_CHECKING:
    from ...inference import Chains, Diagnostics, Posterior

__all__ = ["headline"]

Line: TypeAlias = tuple[str, str, str]
USABLE = 0.7  # k-hat up to which weights can be averaged
VARIANCE = 0.5  # up to which they have a variance
HEADER = ("figure", "value", "what it says")
BLIND = (
    "No figure here can tell of a mode that neither the draws nor the search for maxima ever met:"
    " start from a wider scale, or compare with other knowledge, where there may be one."
)


def headline(posterior: Posterior) -> list[Part]:
    """The verdict with every reason, and the figures."""
    parts: list[Part] = [Words(_verdict(posterior), "verdict")]
    if posterior.chains is not None:
        parts += [
            Heading("The chains"),
            Grid(HEADER, _chains(posterior.chains)),
            Heading("The flow they start from"),
        ]
    parts += [Grid(HEADER, _figures(posterior)), Words(_notes(posterior), "note")]
    return parts


def _verdict(p: Posterior) -> list[str]:
    what = "draws" if p.chains is None else "draws of the chains"
    if not p.trusted:
        return [f"The {what} FAILED the diagnostics.", *p.warnings]
    tried = {f"{a.name}: {reason}" for a in p.attempts for reason in a.reasons}
    lines = [f"The {what} can be trusted: they passed all diagnostics."]
    if p.chains is not None and (against := verdict(p.diagnostics)[1]):
        lines.append(
            f"The flow alone failed: {'; '.join(against)}. log Z is not from its weights, but from"
            " a bridge between its draws and the states of the chains."
        )
    return lines + [warning for warning in p.warnings if warning not in tried]


def _figures(p: Posterior) -> list[Line]:
    d = p.diagnostics
    left = d.log_z - d.elbo
    method = "" if p.chains is None else ", by a bridge between the chains and the flow"
    lines = [
        (
            "log Z",
            plus_minus(d.log_z, d.log_z_se, 4),
            f"log of the integral of the log density's exponential, nats{method}; ± one s.e.",
        ),
        ("ELBO", _bound(d.elbo, d.elbo_se), "lower bound on log Z, nats" + _infinite(d.elbo, d)),
        (
            "IW-ELBO",
            number(d.iw_elbo),
            "a tighter lower bound, from groups of 50 draws, nats" + _infinite(d.iw_elbo, d),
        ),
        (
            "log Z − ELBO",
            number(left),
            "nats left: the divergence KL(q ‖ p) of the flow q from the posterior p",
        ),
        *_upper(d),
        (
            "effective sample size",
            f"{d.ess:.2%}",
            f"{d.ess * d.samples:,.0f} of {d.samples:,} draws: {_worth(d)}",
        ),
        ("Pareto k-hat", number(d.k_hat, 2), _k_hat(d)),
        ("largest weight", f"{d.max_weight_share:.3%}", "of the sum of all weights"),
        (
            "outside the support",
            f"{d.minus_inf_share:.2%}",
            "of the draws, where the density is zero or not a number",
        ),
    ]
    if d.beyond is not None:
        meaning = (
            "of tempered Monte Carlo, where weights exceed all that the draws met; 3 % are too much"
        )
        lines.append(("mass beyond", f"{d.beyond:.2%}", meaning))
    if d.gradient_snr is not None:
        meaning = (
            "of the gradient after training, |mean| / SD over parameters: small when there is no"
            " more to learn"
        )
        lines.append(("signal to noise", number(d.gradient_snr, 2), meaning))
    return lines


def _upper(d: Diagnostics) -> list[Line]:
    if d.eubo is None:
        return []
    return [
        ("EUBO", _bound(d.eubo, d.eubo_se), "upper bound on log Z from the reference draws, nats"),
        (
            "EUBO − log Z",
            number(d.eubo - d.log_z),
            "nats: KL(p ‖ q), large where the flow leaves out a part of the posterior",
        ),
    ]


def _chains(c: Chains) -> list[Line]:
    count, length = c.samples.shape[:2]
    lines = [
        (
            "chains",
            f"{count:,} × {length:,}",
            "chains × states kept" + ("" if c.complete else "; the time ran out early"),
        ),
        (
            "largest R-hat",
            number(float(c.rhat.max()), 3),
            "1 where the chains agree; up to 1.01 they count as converged",
        ),
        (
            "smallest bulk ESS",
            number(float(c.ess_bulk.min()), 0),
            "independent draws that a mean is worth; 400 are wanted",
        ),
        (
            "smallest tail ESS",
            number(float(c.ess_tail.min()), 0),
            "the same of the 5 % and 95 % quantiles",
        ),
        (
            "proposals accepted",
            f"{c.independent_acceptance:.1%}",
            "of independent ones from the flow; 100 % if it were exact",
        ),
    ]
    if not math.isnan(c.local_acceptance):
        lines.append(
            (
                "Hamiltonian acceptance",
                f"{c.local_acceptance:.1%}",
                f"steps up to {number(c.step_size, 3)}; 80 % is aimed at",
            )
        )
    lines.append(
        (
            "divergences",
            f"{c.divergences:,}",
            "trajectories whose energy ran away: parts too steep to enter",
        )
    )
    return lines


def _bound(value: float, error: float | None) -> str:
    return number(value) if error is None or math.isinf(value) else plus_minus(value, error, 4)


def _infinite(bound: float, d: Diagnostics) -> str:
    return (
        "; −∞ because draws lie outside the support"
        if bound == -math.inf and d.minus_inf_share > 0
        else ""
    )


def _worth(d: Diagnostics) -> str:
    return (
        "what the weighted draws are worth as independent ones"
        if d.ess > 0
        else "none of them is of any use"
    )


def _k_hat(d: Diagnostics) -> str:
    if math.isnan(d.k_hat):
        return "unknown: a weight is not a number"
    if d.k_hat == math.inf:
        return (
            "too few distinct weights to fit their"
            f" tail{'; they are even, so it does not matter' if d.ess > 0.99 else ''}"
        )
    if d.k_hat > USABLE and even(d):
        return f"above {USABLE}, which does not matter here: the weights are even"
    if d.k_hat > USABLE:
        return (
            f"above {USABLE}: the tail of the weights is too heavy to average them, whatever the"
            " number of draws"
        )
    if d.k_hat > VARIANCE:
        return (
            f"between {VARIANCE} and {USABLE}: averages are usable, but converge slowly and their"
            " errors are rough"
        )
    return f"up to {VARIANCE}: the weights have a variance, so the standard errors hold"


def _notes(p: Posterior) -> list[str]:
    notes = [
        "q is the flow, p the posterior; a weight is p̃/q, with p̃ the exponential of the log"
        " density."
    ]
    if p.chains is not None:
        notes.append(
            "These figures are of independent draws of the flow, but for log Z, which is by a"
            " bridge between them and the states of the chains. The draws in this report are the"
            " chains', equally weighted."
        )
    return [*notes, BLIND]
