"""Log densities with a known answer: functions of a batch (B, D) -> (B,), and what is known of
them.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import HalfCauchy, Normal
from torch.nn.functional import logsigmoid, softplus

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Known:
    """A log density, the shape or parameters of its points, and the exact log Z where there is
    one.
    """

    log_density: Callable[[Any], Tensor]
    space: Any
    log_z: float | None = None


# Logistic regressions


def _logistic(x: np.ndarray, y: np.ndarray, prior: float | None, log_z: float) -> Known:
    design = torch.from_numpy(np.column_stack([np.ones(len(x)), x])).float()
    signs = torch.from_numpy(2.0 * y - 1).float()

    def log_density(w: Tensor) -> Tensor:
        fit = logsigmoid(w @ design.to(w.dtype).T * signs.to(w.dtype)).sum(1)
        if prior is None:
            return fit
        return (
            fit - 0.5 * (w / prior).square().sum(1) - w.shape[1] * (math.log(prior) + 0.5 * LOG_2PI)
        )

    return Known(log_density, design.shape[1], log_z)


def credit() -> Known:
    """German credit: flat prior, features divided by their SD, not centred."""
    table = np.loadtxt(DATA / "german_credit.csv", delimiter=",", skiprows=1)
    x, y = table[:, :-1], table[:, -1] - 1
    return _logistic(x / x.std(0), y, None, -504.486)


def ionosphere() -> Known:
    """N(0, 1) prior on all weights, features standardised."""
    table = np.loadtxt(DATA / "ionosphere.csv", delimiter=",", skiprows=1)
    x, y = table[:, :-1], table[:, -1]
    sd = x.std(0)
    return _logistic((x - x.mean(0)) / np.where(sd > 0, sd, 1.0), y, 1.0, -111.616)


# Shapes that are hard


def funnel() -> Known:
    def log_density(x: Tensor) -> Tensor:
        first, rest = x[:, 0], x[:, 1:]
        scales = -0.5 * rest.square().sum(1) * torch.exp(-first) - 0.5 * rest.shape[1] * (
            first + LOG_2PI
        )
        return -0.5 * (first / 3).square() - math.log(3) - 0.5 * LOG_2PI + scales

    return Known(log_density, 10, 0.0)


def many_well() -> Known:
    def log_density(u: Tensor) -> Tensor:
        x, y = u[:, 0::2], u[:, 1::2]
        return (-x.pow(4) + 6 * x.square() + 0.5 * x - 0.5 * y.square()).sum(1)

    return Known(log_density, 32, 164.69568)


def gmm40() -> Known:
    means = gmm40_means()
    sd = float(softplus(torch.tensor(1.0)))

    def log_density(x: Tensor) -> Tensor:
        away = (x[:, None] - means.to(x.dtype)).square().sum(2)
        return (-0.5 * away / sd**2).logsumexp(1) - math.log(40) - 2 * math.log(sd) - LOG_2PI

    return Known(log_density, 2, 0.0)


def gmm40_means() -> Tensor:
    return (torch.rand(40, 2, generator=torch.Generator().manual_seed(0)) - 0.5) * 2 * 40


def gaussian500() -> Known:
    """Condition number 1e4 in random directions."""
    generator = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(500, 500, generator=generator, dtype=torch.float64))[0]
    sd = torch.logspace(-2, 0, 500, dtype=torch.float64)  # of variances, 1e-4 to 1
    mean = torch.randn(500, generator=generator, dtype=torch.float64)
    whiten = rotation / sd

    def log_density(x: Tensor) -> Tensor:
        z = (x - mean.to(x.dtype)) @ whiten.to(x.dtype)
        return -0.5 * z.square().sum(1) - float(sd.log().sum()) - 250 * LOG_2PI

    return Known(log_density, 500, 0.0)


def improper() -> Known:
    """Flat in one direction: there is no such density."""
    return Known(lambda x: -0.5 * x[:, :4].square().sum(1) + 0 * x[:, 4], 5)


def phi4(size: int = 8, mass: float = -4.0, coupling: float = 8.0) -> Known:
    """−S of the lattice field theory of Albergo et al. 2021, arXiv:2101.08176."""

    def log_density(x: Tensor) -> Tensor:
        around = sum(x.roll(step, axis) for step in (1, -1) for axis in (-1, -2))
        action = mass * x.square() + coupling * x.pow(4) + x * (4 * x - around)
        return -action.flatten(1).sum(1)

    return Known(log_density, (1, size, size))


# Posteriors with reference draws


def _data(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((DATA / "posteriors" / name / "data.json").read_text())
    return data


def eight_schools() -> Known:
    data = _data("eight_schools-eight_schools_noncentered")
    y, sigma = torch.tensor(data["y"]).float(), torch.tensor(data["sigma"]).float()

    def log_density(p: dict[str, Tensor]) -> Tensor:
        theta = p["mu"][:, None] + p["tau"][:, None] * p["t"]
        prior = (
            Normal(0.0, 1.0).log_prob(p["t"]).sum(1)
            + Normal(0.0, 5.0).log_prob(p["mu"])
            + HalfCauchy(5.0).log_prob(p["tau"])
        )
        return prior + Normal(theta, sigma.to(theta.dtype)).log_prob(y.to(theta.dtype)).sum(1)

    return Known(log_density, {"t": (8,), "mu": (), "tau": "positive"})


def ark() -> Known:
    data = _data("arK-arK")
    order, y = int(data["K"]), torch.tensor(data["y"]).double()
    lags = torch.stack([y[order - k - 1 : len(y) - k - 1] for k in range(order)])

    def log_density(p: dict[str, Tensor]) -> Tensor:
        dtype = p["alpha"].dtype
        mean = p["alpha"][:, None] + p["beta"] @ lags.to(dtype)
        prior = Normal(0.0, 10.0).log_prob(p["alpha"]) + Normal(0.0, 10.0).log_prob(p["beta"]).sum(
            1
        )
        fit = Normal(mean, p["sigma"][:, None]).log_prob(y[order:].to(dtype)).sum(1)
        return prior + HalfCauchy(2.5).log_prob(p["sigma"]) + fit

    return Known(log_density, {"alpha": (), "beta": (order,), "sigma": "positive"})


def garch() -> Known:
    """β1 = (1 − α1) s with s in (0, 1): the support of β1 depends on α1, so its log-det is here."""
    data = _data("garch-garch11")
    y, first = torch.tensor(data["y"]).double(), float(data["sigma1"])

    def log_density(p: dict[str, Tensor]) -> Tensor:
        a0, a1, mu = p["alpha0"], p["alpha1"], p["mu"]
        b1 = (1 - a1) * p["share"]
        away = y.to(mu.dtype) - mu[:, None]
        variance = [torch.full_like(mu, first**2)]
        for t in range(1, len(y)):
            variance.append(a0 + a1 * away[:, t - 1].square() + b1 * variance[-1])
        total = torch.stack(variance, 1)
        return (-0.5 * away.square() / total - 0.5 * total.log() - 0.5 * LOG_2PI).sum(1) + (
            1 - a1
        ).log()

    return Known(
        log_density,
        {"mu": (), "alpha0": "positive", "alpha1": "interval:0:1", "share": "interval:0:1"},
    )


def kidiq() -> Known:
    data = _data("kidiq-kidscore_momiq")
    score, iq = torch.tensor(data["kid_score"]).double(), torch.tensor(data["mom_iq"]).double()

    def log_density(p: dict[str, Tensor]) -> Tensor:
        dtype = p["beta"].dtype
        mean = p["beta"][:, :1] + p["beta"][:, 1:] * iq.to(dtype)
        fit = Normal(mean, p["sigma"][:, None]).log_prob(score.to(dtype)).sum(1)
        return fit + HalfCauchy(2.5).log_prob(p["sigma"])

    return Known(log_density, {"beta": (2,), "sigma": "positive"})


def schools_columns(p: dict[str, Tensor]) -> dict[str, Tensor]:
    theta = p["mu"][:, None] + p["tau"][:, None] * p["t"]
    return {**{f"theta[{i + 1}]": theta[:, i] for i in range(8)}, "mu": p["mu"], "tau": p["tau"]}


def ark_columns(p: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        "alpha": p["alpha"],
        **{f"beta[{i + 1}]": p["beta"][:, i] for i in range(p["beta"].shape[1])},
        "sigma": p["sigma"],
    }


def garch_columns(p: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        "mu": p["mu"],
        "alpha0": p["alpha0"],
        "alpha1": p["alpha1"],
        "beta1": (1 - p["alpha1"]) * p["share"],
    }


def kidiq_columns(p: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"beta[1]": p["beta"][:, 0], "beta[2]": p["beta"][:, 1], "sigma": p["sigma"]}


POSTERIORS = {
    "schools": ("eight_schools-eight_schools_noncentered", eight_schools, schools_columns),
    "ark": ("arK-arK", ark, ark_columns),
    "garch": ("garch-garch11", garch, garch_columns),
    "kidiq": ("kidiq-kidscore_momiq", kidiq, kidiq_columns),
}


def reference(name: str) -> dict[str, np.ndarray]:
    """The reference draws, by column."""
    with gzip.open(DATA / "posteriors" / name / "draws.csv.gz", "rt") as file:
        names = file.readline().strip().replace('"', "").split(",")
        table = np.loadtxt(file, delimiter=",")
    return dict(zip(names, table.T, strict=True))
