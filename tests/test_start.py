"""Training starts from what a linear map says at once, and never ends above the linear-Gaussian
model.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import diffeo
from diffeo.layers import Regress
from diffeo.report.tables.baselines import baselines
from diffeo.runs import stop_on_signals
from diffeo.training import Progress

Rows = tuple[Tensor, Tensor | None]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sums(decimals: int | None) -> Rows:
    """Four parts of a hundred, rounded or exact."""
    parts = 100 * np.random.default_rng(0).dirichlet((4, 3, 2, 1), 1_000)
    return torch.from_numpy(parts if decimals is None else np.round(parts, decimals)), None


def narrow(noise: float) -> Rows:
    """θ given θ + noise."""
    theta = 10 * draw(1_000, 2)
    return theta, theta + 10 * noise * draw(1_000, 2, seed=1)


def mixed() -> Rows:
    """Columns that depend on the context and on each other, none of them nearly determined."""
    context, noise = draw(1_000, 2), draw(1_000, 4, seed=1)
    shared = context[:, :1] + noise[:, :1]
    return shared + 0.7 * noise, context


TABLES: dict[str, Callable[[], Rows]] = {
    "sums of two decimals": lambda: sums(2),
    "sums of no rounding": lambda: sums(None),
    "a posterior a hundredth as wide": lambda: narrow(0.01),
    "a posterior a thousandth as wide": lambda: narrow(0.001),
    "mixed": mixed,
}


def fitted(rows: Rows, steps: int, **args: object) -> tuple[diffeo.Flow, diffeo.training.FitResult]:
    x, context = rows
    shape = None if context is None else (context.shape[1],)
    flow = diffeo.models.nsf((x.shape[1],), shape, layers=2, hidden=(16,), bins=4, **args)
    return flow, diffeo.fit(flow, x, context, steps=steps)


def gaussian(rows: Rows, result: diffeo.training.FitResult) -> float:
    x, context = (None if part is None else part.numpy() for part in rows)
    train, held = result.train_index.numpy(), result.valid_index.numpy()
    given = None if context is None else (context[train], context[held])
    return float(baselines(x[train], x[held], context=given)["gaussian"]["nll"])


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("steps", [1, 40])
def test_no_fit_ends_above_the_linear_gaussian_model(name: str, steps: int) -> None:
    rows = TABLES[name]()
    flow, result = fitted(rows, steps)
    assert result.best["nll"] <= gaussian(rows, result) + 1e-4
    x, context = (None if part is None else part[result.valid_index] for part in rows)
    assert diffeo.training.evaluate(flow, x, context).nll == pytest.approx(
        result.best["nll"], abs=1e-4
    )
    assert result.start is not None


def test_a_narrow_posterior_has_its_width_and_no_outliers() -> None:
    flow, _ = fitted(narrow(0.01), 20)
    for at in ([0.0, 0.0], [15.0, -12.0]):
        away = flow.condition(torch.tensor(at)).sample((5_000,)) - torch.tensor(at)
        assert away.std(0).tolist() == pytest.approx([0.1, 0.1], rel=0.05)
        assert away.abs().max() < 0.6


def test_axes_stay_where_nothing_is_nearly_determined() -> None:
    x = draw(600, 3)
    x[:, 1] += x[:, 0] ** 2
    flow, result = fitted((x, None), 60)
    assert flow.recipe["args"]["regress"] is None
    assert result.start is None
    assert not any(isinstance(link, Regress) for link in flow.transform)


def test_what_is_taken_out_is_named_and_saved(tmp_path: Path) -> None:
    rows = sums(2)
    flow, result = fitted(rows, 60)
    assert len(result.start.left) == 1
    assert "nearly determine it" in result.start.reason
    assert flow.metadata["training"]["start"]["regress"] == flow.recipe["args"]["regress"] == 0.01
    again = diffeo.load(diffeo.save(flow, tmp_path))
    assert torch.equal(again.log_prob(rows[0]), flow.log_prob(rows[0]))
    assert diffeo.check(again, rows[0]).round_trip_max < 1e-4


def test_nothing_is_taken_out_where_that_is_asked() -> None:
    flow, result = fitted(sums(2), 5, regress=0)
    assert result.start is None
    assert result.best["nll"] > 10
    assert not any(isinstance(link, Regress) for link in flow.transform)


def test_noise_is_not_taken_for_dependence() -> None:
    """A regression of one of 30 columns on the others leaves 84 % of its variance in 178 rows, and
    120 % in new ones.
    """
    for rows, columns in ((178, 30), (40, 30), (30, 30), (10, 30), (2, 3)):
        layer = Regress(columns)
        layer.initialize(draw(rows, columns))
        assert not layer.taken.any(), (rows, columns)


@pytest.mark.parametrize("width", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_residuals_keep_their_digits(width: float, scale: float) -> None:
    x, noise = draw(500, 2), draw(500, seed=1)
    x[:, 1] = scale * (5 + 3 * x[:, 0] + 3 * width * noise)
    layer = Regress(2)
    layer.initialize(x)
    (taken,) = layer.taken.nonzero().flatten().tolist()
    y, logdet = layer(x)
    likeness = torch.corrcoef(torch.stack([y[:, taken], noise]))[0, 1].abs()
    assert likeness > 0.995
    assert y[:, taken].std() == pytest.approx(1, rel=0.05)
    back, opposite = layer.inverse(y)
    assert ((back - x) / x.std(0)).abs().max() < 1e-12
    assert torch.allclose(logdet, -opposite)


def test_a_circle_is_left_alone_and_regress_can_be_asked_for() -> None:
    x = draw(400, 3)
    x[:, 1] = x[:, 0] + 0.01 * x[:, 1]
    flow = diffeo.models.nsf(
        (3,), layers=2, hidden=(8,), supports=["real", "real", "circular:-9:9"], regress=1
    )
    diffeo.fit(flow, x, steps=2)
    layer = next(link for link in flow.transform if isinstance(link, Regress))
    assert layer.taken.tolist() == [True, True, False]


def test_a_run_that_took_something_out_resumes_bit_for_bit(tmp_path: Path) -> None:
    def run(out: Path, **args: object) -> diffeo.Flow:
        flow = diffeo.models.nsf((4,), layers=2, hidden=(8,), bins=4, dropout=0.1)
        diffeo.fit(flow, sums(2)[0], steps=30, eval_every=5, out=out, **args)
        return flow

    def stop(p: Progress) -> None:
        if p.step >= 10:
            os.kill(os.getpid(), signal.SIGTERM)

    whole = run(tmp_path / "whole")
    with stop_on_signals(send_again=False):
        cut = run(tmp_path / "cut", progress=stop)
    assert cut.metadata["training"]["stopped"] == "signal"
    resumed = run(tmp_path / "cut", resume=True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert (tmp_path / "whole/metrics.jsonl").read_text() == (
        tmp_path / "cut/metrics.jsonl"
    ).read_text()


def test_a_run_that_fell_back_can_be_prolonged_with_the_flow_it_made(tmp_path: Path) -> None:
    x, _ = mixed()
    flow = diffeo.models.nsf((4,), layers=2, hidden=(8,), bins=4)
    first = diffeo.fit(flow, x, steps=2, out=tmp_path)
    assert first.start.regress == 1
    assert "Gaussian" in first.start.reason
    second = diffeo.fit(flow, x, steps=60, out=tmp_path, resume=True)
    assert second.steps == 60
    assert second.best["nll"] <= first.best["nll"]
