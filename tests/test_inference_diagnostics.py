"""Figures from importance weights and chains: against ArviZ, against closed forms, and on weights
that are out to deceive.
"""

from __future__ import annotations

import json
import math
import random
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from diffeo.core.errors import ShapeError
from diffeo.inference.chains import convergence
from diffeo.inference.weights import diagnostics, psis
from diffeo.inference.weights.diagnostics import Diagnostics, diagnose, verdict


def uniform(n: int, seed: int) -> Tensor:
    """In (0, 1], the same on every platform and with every version."""
    numbers = random.Random(seed)
    return torch.tensor([1 - numbers.random() for _ in range(n)], dtype=torch.float64)


def normal(n: int, seed: int) -> Tensor:
    return torch.special.ndtri(uniform(n, seed).clamp(1e-15, 1 - 1e-15))


def pareto(k: float) -> Callable[[int], Tensor]:
    """Log weights whose tail has shape k: w = u^−k."""
    return lambda n: -k * uniform(n, 1).log()


WEIGHTS: dict[str, Callable[[int], Tensor]] = {
    "pareto 0.3": pareto(0.3),
    "pareto 0.7": pareto(0.7),
    "pareto 1.2": pareto(1.2),
    "normal": lambda n: normal(n, 2),
    "wide": lambda n: 5 * normal(n, 3) - 1000,
    "bounded": lambda n: uniform(n, 4),
    "outside": lambda n: torch.where(uniform(n, 5) < 0.3, -math.inf, normal(n, 6)),
    "mostly outside": lambda n: torch.where(uniform(n, 5) < 0.9, -math.inf, normal(n, 6)),
    "ties": lambda n: (4 * normal(n, 7)).round() / 4,
    "even": lambda n: torch.full((n,), 3.0, dtype=torch.float64),
}

# k̂ by arviz 0.23.4 for 20, 200 and 5000 of these
ARVIZ_K: dict[str, list[float]] = {
    "pareto 0.3": [math.inf, 0.3694696046562521, 0.20719272239113912],
    "pareto 0.7": [math.inf, 0.6442496029081903, 0.5625602001287611],
    "pareto 1.2": [math.inf, 0.9830021122865503, 1.007107048376765],
    "normal": [math.inf, 0.20822866874835666, 0.3638363527006635],
    "wide": [math.inf, 2.243588076673947, 1.904650597426086],
    "bounded": [math.inf, -0.6535759367746554, -0.8837825464865282],
    "outside": [math.inf, 0.3005870780436981, 0.21454824958519528],
    "mostly outside": [math.inf, 0.06190885301787946, 0.381871138207383],
    "ties": [math.inf, 0.3445592883595211, 0.046751955206108226],
    "even": [math.inf, math.inf, math.inf],
}


@pytest.mark.parametrize("name", list(WEIGHTS))
def test_k_is_that_of_arviz(name: str) -> None:
    for n, expected in zip((20, 200, 5000), ARVIZ_K[name], strict=True):
        assert psis.pareto_k(WEIGHTS[name](n)) == pytest.approx(expected, rel=1e-9)


# the largest smoothed weight of 200, and the sum of the squares of all
ARVIZ_SMOOTHED: dict[str, list[float]] = {
    "pareto 0.3": [0.015774571484427107, 0.0056055120096392495],
    "pareto 0.7": [0.0617738403723417, 0.012524906623858358],
    "pareto 1.2": [0.22703727518318667, 0.07095259385864411],
    "normal": [0.039354528248430984, 0.011700661596992644],
    "wide": [0.6578706818770024, 0.47419645886631023],
    "bounded": [0.007815334383701784, 0.005470666095046293],
    "outside": [0.04364150660075442, 0.016868944437506903],
    "mostly outside": [0.14353484104011233, 0.09022795175957231],
    "ties": [0.06269174387478779, 0.014351195946740948],
    "even": [0.005000000000000002, 0.005000000000000003],
}


@pytest.mark.parametrize("name", list(WEIGHTS))
def test_smoothed_weights_are_those_of_arviz(name: str) -> None:
    weights = psis.smooth(WEIGHTS[name](200))[0].exp()
    assert [float(weights.max()), float(weights.square().sum())] == pytest.approx(
        ARVIZ_SMOOTHED[name], rel=1e-9
    )


@pytest.mark.parametrize("name", list(WEIGHTS))
def test_smoothing_is_that_of_arviz(name: str) -> None:
    """Weights in order of size: among ties ArviZ's order is arbitrary."""
    az: Any = arviz()
    for n in (20, 200, 5000):
        smoothed, k = psis.smooth(WEIGHTS[name](n))
        theirs, their_k = az.psislw(WEIGHTS[name](n).numpy())
        assert k == pytest.approx(float(their_k), rel=1e-9)
        gap = smoothed.exp().sort().values - torch.as_tensor(theirs).exp().sort().values
        assert gap.abs().max() < 1e-12


def arviz() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("arviz", exc_type=ImportError)


@pytest.mark.parametrize("k", [0.3, 0.7, 1.2])
def test_k_of_pareto_tails(k: float) -> None:
    """Within 3 standard errors of the truth, (1 + k) / √M for a tail of M."""
    n = 100_000
    assert abs(psis.pareto_k(pareto(k)(n)) - k) < 3 * (1 + k) / math.sqrt(3 * math.sqrt(n))


def test_smoothing_keeps_order_and_sum_and_lowers_the_variance() -> None:
    """On a tail of k = 0.7 the smoothed mean of w scatters less over repeats than the raw one."""
    raw, smooth = [], []
    for seed in range(60):
        x = -0.7 * uniform(500, seed).log()
        out, _ = psis.smooth(x)
        assert float(out.exp().sum()) == pytest.approx(1)
        assert (out[x.argsort()].diff() >= 0).all()
        raw.append(float((x - x.min()).exp().mean()))
        smooth.append(float((out - out.min()).exp().mean()))
    assert torch.tensor(smooth).std() < 0.8 * torch.tensor(raw).std()


@pytest.mark.parametrize("n", [1, 2, 3, 5, 24, 30])
@pytest.mark.parametrize("scale", [0.0, 1e-300, 1e-12, 1.0, 1e6, 1e300])
def test_psis_never_raises(n: int, scale: float) -> None:
    smoothed, k = psis.smooth(scale * normal(n, n))
    assert not math.isnan(k)
    assert float(smoothed.exp().sum()) == pytest.approx(1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_psis_of_what_is_no_number(bad: float) -> None:
    x = normal(100, 0)
    x[3] = bad
    assert math.isnan(psis.pareto_k(x))


def test_psis_of_zero_weights() -> None:
    smoothed, k = psis.smooth(torch.full((50,), -math.inf))
    assert k == math.inf
    assert (smoothed == -math.inf).all()


@pytest.mark.parametrize("shape", [(), (0,), (3, 2)])
def test_one_weight_per_draw(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="one log weight per draw"):
        diagnose(torch.zeros(shape))


# --- closed forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("s", [0.1, 0.5, 1.0])
def test_log_normal_weights(s: float) -> None:
    """log w ~ N(3, s²): log Z = 3 + s²/2, ELBO = 3, EUBO = 3 + s², ESS = exp(−s²), SE² = (exp(s²) −
    1) / N.
    """
    n = 40_000
    noise = torch.randn(2, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = diagnose(3 + s * noise[0], reference=3 + s * s + s * noise[1])
    se = math.sqrt(math.expm1(s * s) / n)
    assert found.log_z_se == pytest.approx(se, rel=0.15)
    assert abs(found.log_z - 3 - s * s / 2) < 4 * se
    assert abs(found.elbo - 3) < 4 * found.elbo_se
    assert found.elbo_se == pytest.approx(s / math.sqrt(n), rel=0.05)
    assert found.eubo is not None
    assert abs(found.eubo - 3 - s * s) < 4 * s / math.sqrt(n)
    assert found.ess == pytest.approx(math.exp(-s * s), rel=0.1)
    assert found.elbo < found.iw_elbo < found.log_z + se < found.eubo
    # the bias is Var w / 2K
    assert found.iw_elbo == pytest.approx(3 + s * s / 2 - math.expm1(s * s) / 100, abs=0.01)
    assert verdict(found, 3 + s * noise[0]) == (True, [])


def test_errors_are_what_repeats_scatter_by() -> None:
    """The standard errors of log Z, ELBO and the importance-weighted ELBO, against the spread over
    300 repeats.
    """
    noise = 0.8 * torch.randn(
        300, 1000, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    for figure in (diagnostics.log_z, diagnostics.elbo, diagnostics.iw_elbo):
        found = torch.tensor([figure(row) for row in noise], dtype=torch.float64)
        assert float(found[:, 0].std()) == pytest.approx(float(found[:, 1].mean()), rel=0.15)


def test_a_gaussian_for_a_gaussian() -> None:
    """q = N(0, 1) for p̃ = 7 N(0.3, 0.8²): log Z = log 7, and the closed-form ESS 1 / ∫ p² / q."""
    q, p = torch.distributions.Normal(0.0, 1.0), torch.distributions.Normal(0.3, 0.8)
    x = torch.randn(50_000, generator=torch.Generator().manual_seed(3)).double()
    found = diagnose(math.log(7) + p.log_prob(x) - q.log_prob(x))
    precision = 2 / 0.64 - 1
    mean = 2 * 0.3 / 0.64 / precision
    chi = math.exp(-0.09 / 0.64 + precision * mean**2 / 2) / (0.64 * math.sqrt(precision))
    assert found.ess == pytest.approx(1 / chi, rel=0.02)
    assert abs(found.log_z - math.log(7)) < 4 * found.log_z_se < 0.02
    assert found.k_hat < 0.3


def test_zero_weights_are_counted_not_hidden() -> None:
    """A box of a quarter of the draws: the ELBO is −inf, log Z = log ¼ is right, and the verdict
    speaks of the share.
    """
    inside = uniform(4000, 0) < 0.25
    x = torch.where(inside, 0.0, -math.inf)
    found = diagnose(x)
    share = float(inside.double().mean())
    assert found.elbo == -math.inf
    assert math.isnan(found.elbo_se)
    assert found.log_z == pytest.approx(math.log(share))
    assert found.log_z_se == pytest.approx(math.sqrt((1 - share) / share / 4000), rel=0.03)
    assert found.ess == pytest.approx(share)
    assert found.minus_inf_share == 1 - share
    assert verdict(found)[1] == [
        f"{1 - share:.1%} of the draws lie outside the support of the target"
    ]


def test_groups_of_one_and_of_all() -> None:
    x = normal(1003, 1)
    assert diagnostics.iw_elbo(x, 1)[0] == pytest.approx(diagnostics.elbo(x)[0])
    assert diagnostics.iw_elbo(x, 5000)[0] == pytest.approx(diagnostics.log_z(x)[0])
    assert diagnostics.iw_elbo(x, 100)[0] == pytest.approx(
        float((x[:1000].view(10, 100).exp().mean(1)).log().mean())
    )


def test_error_of_log_z_is_honest_when_one_weight_rules() -> None:
    """Weights exp(10 z): the truth is 50, the estimate nats below it, and the error says so instead
    of at most 1.
    """
    x = 10 * normal(2000, 5)
    value, error = diagnostics.log_z(x)
    assert 50 - value > 3
    assert error > 1.5
    assert diagnostics.log_z(torch.tensor([0.0, 0.0, 800.0]))[1] == math.inf
    assert diagnostics.log_z(torch.tensor([4.0])) == (4.0, math.inf)


def test_figures_do_not_overflow() -> None:
    for shift in (-1e5, 1e5):
        found = diagnose(normal(1000, 1) + shift)
        assert found.log_z - shift == pytest.approx(diagnose(normal(1000, 1)).log_z, abs=1e-9)
        assert found.ess == pytest.approx(diagnose(normal(1000, 1)).ess)


def test_gradient_signal_to_noise() -> None:
    noise = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(1))
    grads = torch.cat(
        [
            noise * torch.tensor([1.0, 2.0, 4.0]) + torch.tensor([1.0, -4.0, 2.0]),
            torch.zeros(20_000, 1),
        ],
        1,
    )
    assert diagnostics.gradient_snr(grads) == pytest.approx((1 + 2 + 0.5) / 3, rel=0.03)
    assert diagnostics.gradient_snr(torch.zeros(5, 2)) == 0
    assert math.isnan(diagnostics.gradient_snr(noise[:1]))


# --- verdicts -------------------------------------------------------------------------------------


def test_disagreement_has_the_level_it_claims() -> None:
    """Repeats that differ by their errors alone are told apart one time in ten at level 0.1; a
    shifted one always.
    """
    noise = torch.randn(1000, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    errors = [0.01, 0.02, 0.03, 0.04]
    estimates = (5 + noise * torch.tensor(errors)).tolist()
    share = sum(diagnostics.disagree(row, errors, level=0.1) for row in estimates) / 1000
    assert 0.07 < share < 0.13
    assert all(diagnostics.disagree([row[0] + 0.3, *row[1:]], errors) for row in estimates)


def test_disagreement_at_the_edges() -> None:
    assert not diagnostics.disagree([1.0, 1.0005], [0.0, 0.0])
    assert diagnostics.disagree([1.0, 1.1], [0.0, 0.0])
    assert diagnostics.disagree([1.0, math.nan], [0.1, 0.1])
    assert diagnostics.disagree([1.0, -math.inf], [0.1, math.nan])
    assert not diagnostics.disagree([1.0, 50.0], [0.1, math.inf])
    assert not diagnostics.disagree([1.0], [0.1])
    assert not diagnostics.disagree([], [])


def test_drift() -> None:
    x = 0.3 * normal(4000, 3)
    assert not diagnostics.drifts(x)
    assert diagnostics.drifts(torch.cat([x[:2000], x[2000:] + 0.1]))


def test_a_lost_mode_is_seen_from_reference_draws() -> None:
    """Half of the target's mass lies where a Gaussian fitted to the other half is 1e-40: only the
    reference knows.
    """
    g = torch.Generator().manual_seed(0)
    q = torch.distributions.Normal(torch.tensor(-7.0, dtype=torch.float64), 1.0)
    right = torch.distributions.Normal(torch.tensor(7.0, dtype=torch.float64), 1.0)

    def log_weight(x: Tensor) -> Tensor:
        return torch.logaddexp(q.log_prob(x), right.log_prob(x)) - math.log(2) - q.log_prob(x)

    noise = torch.randn(5000, generator=g, dtype=torch.float64)
    seen, reference = (
        log_weight(noise - 7),
        log_weight(noise + 14 * (torch.rand(5000, generator=g) < 0.5) - 7),
    )
    blind = diagnose(seen)
    assert verdict(blind) == (True, [])
    assert blind.log_z == pytest.approx(math.log(0.5))
    lost = diagnostics.lost_modes(seen, reference)
    assert lost == pytest.approx(0.5, abs=0.03)
    trusted, reasons = verdict(diagnose(seen, reference), lost=lost)
    assert not trusted
    assert "a mode is lost" in reasons[0]
    # and a repeat that met both modes
    both = replace(blind, log_z=0.0, log_z_se=0.01)
    assert "2 repeats disagree about log Z: -0.693" in verdict(blind, repeats=[both])[1][0]


def test_nothing_is_lost_where_the_flow_covers() -> None:
    """The reference has the law of the weights tilted by w: what lies beyond the largest of N stays
    far below the limit.
    """
    g = torch.Generator().manual_seed(0)
    for s in (0.1, 0.5, 1.0):
        noise = torch.randn(2, 10_000, generator=g, dtype=torch.float64)
        assert diagnostics.lost_modes(s * noise[0], s * noise[1] + s * s) < 0.01


@pytest.mark.parametrize(
    ("log_weights", "word"),
    [
        (pareto(1.2)(20_000), "k-hat"),
        (6 * normal(5000, 2), "effective sample size"),
        (torch.cat([normal(2000, 1), torch.tensor([math.nan])]), "not finite"),
        (torch.cat([normal(2000, 1), torch.tensor([math.inf])]), "not finite"),
        (torch.full((100,), -math.inf), "every draw lies outside"),
        (
            torch.where(uniform(2000, 0) < 0.55, -math.inf, 0.1 * normal(2000, 1)),
            "outside the support",
        ),
        (normal(10, 0), "too few"),
        (torch.zeros(1), "not finite"),
    ],
    ids=[
        "heavy tail",
        "few effective",
        "nan",
        "inf",
        "nothing",
        "outside",
        "ten draws",
        "one draw",
    ],
)
def test_reasons_not_to_trust(log_weights: Tensor, word: str) -> None:
    trusted, reasons = verdict(diagnose(log_weights), log_weights)
    assert not trusted
    assert any(word in reason for reason in reasons), reasons


def test_draws_of_zero_weight_are_no_objection_where_they_are_few() -> None:
    """A weight of zero is exact: the flow reaches over an edge, and misses nothing by that."""
    x = torch.where(uniform(2000, 0) < 0.3, -math.inf, 0.1 * normal(2000, 1))
    assert verdict(diagnose(x), x) == (True, [])


def test_even_weights_are_trusted() -> None:
    """An exact flow: all weights alike, so there is no tail to fit and k̂ is infinite; nor does
    rounding matter.
    """
    for x in (torch.full((1000,), 5.0), 5 + 1e-6 * normal(1000, 1), 5 + 1e-5 * pareto(3.0)(1000)):
        assert verdict(diagnose(x), x) == (True, [])


def test_a_few_draws_outside_are_forgiven() -> None:
    x = 0.1 * normal(10_000, 1)
    x[7] = -math.inf
    found = diagnose(x)
    assert found.elbo == -math.inf
    assert verdict(found, x) == (True, [])


def test_as_dict() -> None:
    found = diagnose(normal(100, 1))
    assert Diagnostics(**found.as_dict()) == found  # type: ignore[arg-type]
    assert json.loads(json.dumps(found.as_dict()))["samples"] == 100


# --- chains ---------------------------------------------------------------------------------------


def autoregressive(chains: int, draws: int, rho: float) -> Tensor:
    """(C, N, 2): stationary x_t = ρ x_{t−1} + √(1 − ρ²) ε; the second column is rounded and its
    first chain shifted.
    """
    x = normal(chains * draws * 2, 11).view(chains, draws, 2).clone()
    for t in range(1, draws):
        x[:, t] = rho * x[:, t - 1] + math.sqrt(1 - rho * rho) * x[:, t]
    x[0, :, 1] += 0.3
    x[..., 1] = x[..., 1].round(decimals=1)
    return x


CHAINS = {
    "4 x 400, 0.5": (4, 400, 0.5),
    "2 x 101, 0.9": (2, 101, 0.9),
    "3 x 50, -0.6": (3, 50, -0.6),
    "2 x 5, 0": (2, 5, 0.0),
}

# R-hat, bulk and tail ESS by arviz 0.23.4, for both columns
ARVIZ_CHAINS: dict[str, list[list[float]]] = {
    "4 x 400, 0.5": [
        [1.0013751881034698, 1.0210653380728485],
        [568.6784172377974, 474.85346505756314],
        [1014.2370880490046, 866.8077463226393],
    ],
    "2 x 101, 0.9": [
        [1.3376831077747857, 1.1499551309045337],
        [5.689616775193316, 11.122510861752435],
        [24.43110428591371, 20.873486790538102],
    ],
    "3 x 50, -0.6": [
        [1.01137036574498, 1.0043598273748635],
        [326.4136888583522, 326.4136888583522],
        [162.23585548738922, 104.93621279079466],
    ],
    "2 x 5, 0": [
        [1.6932687786661953, 0.9012144386980897],
        [7.224719895935548, 7.224719895935548],
        [7.224719895935548, 7.224719895935548],
    ],
}


@pytest.mark.parametrize("name", list(CHAINS))
def test_chains_as_arviz(name: str) -> None:
    x = autoregressive(*CHAINS[name])
    found = [convergence.rhat(x), convergence.ess_bulk(x), convergence.ess_tail(x)]
    torch.testing.assert_close(
        torch.stack(found), torch.tensor(ARVIZ_CHAINS[name], dtype=torch.float64), rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("name", list(CHAINS))
def test_stored_figures_are_arviz(name: str) -> None:
    az: Any = arviz()
    for column in (0, 1):
        x = autoregressive(*CHAINS[name])[..., column].numpy()
        theirs = [
            float(az.rhat(x)),
            float(az.ess(x, method="bulk")),
            float(az.ess(x, method="tail")),
        ]
        assert theirs == pytest.approx([row[column] for row in ARVIZ_CHAINS[name]], rel=1e-9)


def test_ess_of_an_autoregressive_process() -> None:
    """ESS = C N (1 − ρ) / (1 + ρ)."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(8, 5000, 1, generator=g)
    for t in range(1, 5000):
        x[:, t] = 0.8 * x[:, t - 1] + 0.6 * x[:, t]
    assert float(convergence.ess_bulk(x)) == pytest.approx(40_000 / 9, rel=0.1)
    assert float(convergence.rhat(x)) < 1.01


def test_rhat_sees_shift_scale_and_trend() -> None:
    """Chains that agree, one shifted, one wider, and all with the same trend, which only halves can
    show.
    """
    x = torch.randn(4, 500, 4, generator=torch.Generator().manual_seed(0))
    x[0, :, 1] += 1
    x[0, :, 2] *= 3
    x[..., 3] += torch.linspace(-1, 1, 500)
    found = convergence.rhat(x)
    assert found[0] < 1.01
    assert (found[1:] > 1.05).all()


def test_columns_are_looked_at_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks or alone, the same; a column that is constant or not finite is unknown and spoils
    no other.
    """
    x = autoregressive(3, 40, 0.5)
    x = torch.cat([x, torch.zeros(3, 40, 1), x[..., :1]], 2)
    x[1, 2, 3] = math.nan
    whole = [f(x) for f in (convergence.rhat, convergence.ess_bulk, convergence.ess_tail)]
    monkeypatch.setattr(convergence, "BLOCK", 1)
    for f, values in zip(
        (convergence.rhat, convergence.ess_bulk, convergence.ess_tail), whole, strict=True
    ):
        torch.testing.assert_close(f(x), values, equal_nan=True)
        assert values.isnan().tolist() == [False, False, True, True]
        torch.testing.assert_close(f(x[..., :1]), values[:1])


def test_short_chains_are_unknown() -> None:
    assert convergence.rhat(torch.randn(4, 3, 2)).isnan().all()
    assert convergence.ess_bulk(torch.randn(4, 0, 2)).isnan().all()
    assert convergence.ess_bulk(torch.randn(4, 100, 0)).shape == (0,)
    with pytest.raises(ShapeError, match="chains, draws, dimensions"):
        convergence.rhat(torch.randn(4, 100))
