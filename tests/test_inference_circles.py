"""Posteriors on circles: masses across the cut, circular figures, and values that stay in [LOW,
HIGH).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import Normal

import diffeo
from diffeo.core.errors import ConfigError, DataError
from diffeo.inference import Laplace, Space
from diffeo.inference.modes.cuts import emptiest
from diffeo.report import build_posterior_report
from diffeo.supports import Circular

TURN = 2 * math.pi
ROUND = f"circular:0:{TURN}"
FAST: dict[str, Any] = {
    "steps": 100,
    "samples": 2_000,
    "layers": 3,
    "hidden": (32,),
    "effort": "flow",
    "model": "realnvp",
}


def von_mises(x: Tensor, mean: float, kappa: float) -> Tensor:
    """log p, in float64, for which PyTorch's rounds too much."""
    norm = math.log(TURN) + float(np.log(np.i0(kappa))) if kappa < 500 else 0.0
    return kappa * (x.double() - mean).cos() - norm


# name: log density, parameters, mean and circular standard deviation of the first angle, None where
# there is no mean
POSTERIORS: dict[str, tuple[Callable[[Any], Tensor], Any, float | None, float]] = {
    "across the cut": (lambda p: von_mises(p["phi"], 0.1, 20.0), {"phi": ROUND}, 0.1, 0.22799),
    "at the cut": (lambda p: von_mises(p["phi"], 0.0, 100.0), {"phi": ROUND}, 0.0, 0.10026),
    "below the cut": (
        lambda p: von_mises(p["phi"], TURN - 0.3, 5.0),
        {"phi": ROUND},
        TURN - 0.3,
        0.47414,
    ),
    "broad": (lambda p: von_mises(p["phi"], 0.0, 1.0), {"phi": ROUND}, 0.0, 1.27019),
    "uniform": (lambda p: 0 * p["phi"] - math.log(TURN), {"phi": ROUND}, None, 0.0),
    "degrees": (
        lambda p: von_mises((p["phi"] + 180) * math.pi / 180, 3.1, 8.0) + math.log(math.pi / 180),
        {"phi": "circular:-180:180"},
        math.degrees(3.1) - 180,
        math.degrees(0.36620),
    ),
    "two modes": (
        lambda p: (
            torch.logaddexp(
                von_mises(p["phi"], 0.0, 20.0), von_mises(p["phi"], 3.0, 20.0) + math.log(0.25)
            )
            - math.log(1.25)
        ),
        {"phi": ROUND},
        None,
        0.0,
    ),
    "beside a scale": (
        lambda p: von_mises(p["phi"], 0.1, 20.0) - p["s"],
        {"s": "positive", "phi": ROUND},
        0.1,
        0.22799,
    ),
    "an entry of a vector": (
        lambda x: von_mises(x[:, 1], 6.2, 50.0) + Normal(0.0, 1.0).log_prob(x[:, 0]),
        (2, ["real", ROUND]),
        6.2,
        0.14250,
    ),
    "two that turn together": (
        lambda p: von_mises(p["phi"][:, 0] - p["phi"][:, 1], 0.0, 5.0) - math.log(TURN),
        {"phi": ((2,), ROUND)},
        None,
        0.0,
    ),
}


@pytest.mark.parametrize("name", list(POSTERIORS))
def test_log_z_and_circular_figures(name: str) -> None:
    log_density, parameters, mean, sd = POSTERIORS[name]
    given = (
        {"event_shape": parameters}
        if isinstance(parameters, dict)
        else dict(zip(("event_shape", "support"), parameters, strict=True))
    )
    posterior = diffeo.infer(log_density, **given, **FAST)
    assert abs(posterior.log_z) < 4 * posterior.log_z_se + 0.01
    label, circle = next(iter(posterior.space.circles.items()))
    row = next(row for row in posterior.summary() if row["name"] == label)
    column = posterior.columns()[:, posterior.space.names.index(label)]
    assert bool(((column >= circle.low) & (column < circle.high)).all())
    if mean is not None:
        off = circle.around(torch.tensor(float(row["mean"])), mean).item() - mean
        assert abs(off) < 0.15 * sd
        assert float(row["sd"]) == pytest.approx(sd, rel=0.1)


def test_the_density_sees_values_of_one_turn_alone() -> None:
    def log_density(p: dict[str, Tensor]) -> Tensor:
        assert bool(((p["phi"] >= 0) & (p["phi"] < TURN)).all())
        return von_mises(p["phi"], 0.0, 3.0)

    diffeo.infer(log_density, {"phi": ROUND}, **(FAST | {"steps": 20}))


def test_trusted_where_the_mass_lies_across_the_cut() -> None:
    posterior = diffeo.infer(lambda p: von_mises(p["phi"], 0.1, 20.0), {"phi": ROUND}, **FAST)
    assert posterior.trusted, posterior.warnings
    assert posterior.space.cuts()["phi"] == pytest.approx(0.1 + math.pi, abs=0.4)
    q5, q95 = (float(posterior.summary()[0][q]) for q in ("q5", "q95"))
    # before the cut, and so the larger number
    assert q5 == pytest.approx(TURN + 0.1 - 0.3777, abs=0.03)
    assert q95 == pytest.approx(0.1 + 0.3777, abs=0.03)


@pytest.mark.parametrize(("low", "width"), [(0.0, TURN), (-180.0, 360.0), (1e3, 24.0)])
def test_figures_are_scipys(low: float, width: float) -> None:
    x = np.random.default_rng(0).vonmises(3.0, 4.0, 2_000) % TURN * width / TURN + low
    mean, sd = Circular(low, low + width).mean_and_sd(
        torch.tensor(x), torch.full((2_000,), 1 / 2_000)
    )
    assert mean == pytest.approx(stats.circmean(x, high=low + width, low=low))
    assert sd == pytest.approx(stats.circstd(x, high=low + width, low=low))


def at(*places: float) -> list[Laplace]:
    """Narrow maxima at angles, in the coordinates of a circle that is cut at 0."""
    space = Space.of((), ROUND)
    u = space.unconstrain(torch.tensor(places, dtype=torch.float64))
    return [Laplace(mode, torch.eye(1, dtype=torch.float64) * 0.05, 0.0, True) for mode in u]


@pytest.mark.parametrize(
    ("places", "cut"),
    [((0.01, TURN - 0.01), math.pi), ((0.05, 2.0), (2.05 + TURN) / 2), ((1.5, 6.2), 3.85)],
)
def test_the_cut_is_where_the_maxima_are_not(places: tuple[float, ...], cut: float) -> None:
    assert emptiest(Space.of((), ROUND), at(*places))["x"] == pytest.approx(cut, abs=0.5)


def test_a_cut_that_is_well_placed_stays() -> None:
    assert emptiest(Space.of((), ROUND), at(3.0, 3.3)) == {}


def test_reference_draws_follow_the_cut() -> None:
    """They lie on both sides of the first cut; in the coordinates of the second they are one
    cluster.
    """
    draws = torch.tensor(np.random.default_rng(0).vonmises(0.0, 20.0, 500) % TURN)
    posterior = diffeo.infer(
        lambda p: von_mises(p["phi"], 0.0, 20.0), {"phi": ROUND}, reference={"phi": draws}, **FAST
    )
    assert posterior.trusted, posterior.warnings
    assert posterior.diagnostics.eubo == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize(
    ("support", "words"),
    [
        ("circular", "phi: cannot read the support 'circular'.*circular:LOW:HIGH"),
        ("circular:0", "phi: cannot read the support"),
        ("circular:0:inf", "phi: a circle has finite ends"),
        ("circular:2:1", "phi: a lower bound must lie below"),
        ("circular:0:1:2", "phi: a circle .* is cut within"),
        ("circular:0:1:x", "phi: cannot read the support"),
    ],
)
def test_circles_that_are_none_are_refused(support: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Space.of({"phi": support})


def test_values_off_the_circle_are_refused_and_its_end_is_its_beginning() -> None:
    space = Space.of({"phi": "circular:0:360:90"})
    with pytest.raises(DataError, match="phi in row 1 is 361"):
        space.unconstrain({"phi": torch.tensor([10.0, 361.0])})
    u = space.unconstrain({"phi": torch.tensor([0.0, 360.0])})
    assert u[0] == u[1]


def test_the_report_says_what_circular_figures_are(tmp_path: Any) -> None:
    posterior = diffeo.infer(
        lambda p: von_mises(p["phi"], 0.0, 20.0), {"phi": ROUND}, **(FAST | {"steps": 20})
    )
    page = build_posterior_report(tmp_path, posterior).read_text()
    assert "Entries on circles (phi)" in page
    around = posterior.unrolled(posterior.columns())
    assert float(around.std()) < 0.5 < float(posterior.columns().std())
