"""`fit` with an objective of one's own: functions and modules, seeded, resumed and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import diffeo
from diffeo.errors import CheckpointError, ConfigError, ShapeError
from diffeo.training import Objective, Progress


def rows(n: int = 200) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0)) * 2 + 1


def small(**args: Any) -> diffeo.Flow:
    return diffeo.models.nsf((2,), layers=2, hidden=(8,), bins=4, dropout=0.1, **args)


def weights(flow: diffeo.Flow) -> Tensor:
    return torch.cat([t.double().flatten() for t in flow.state_dict().values()])


def likelihood(flow: diffeo.Flow, x: Tensor, context: Tensor | None) -> Tensor:
    return -flow.log_prob(x, context)


def noisy(flow: diffeo.Flow, x: Tensor, context: Tensor | None) -> Tensor:
    return -flow.log_prob(x + 0.1 * torch.randn_like(x), context)


class Tempered(Objective):
    """Likelihood at a temperature that is learnt, and bound to 1 by a penalty."""

    def __init__(self, flow: diffeo.Flow) -> None:
        super().__init__()
        self.flow = flow
        self.log_t = nn.Parameter(torch.tensor(1.0))

    def forward(self, *batch: Tensor) -> Tensor:
        return -self.flow.log_prob(batch[0]) + self.log_t.square()


def test_the_likelihood_by_hand_trains_as_maximum_likelihood_does() -> None:
    args: dict[str, Any] = {"steps": 20, "eval_every": 5, "batch_size": 32}
    plain = diffeo.fit(small(), rows(), **args)
    by_hand = diffeo.fit(small(), rows(), objective=likelihood, **args)
    assert torch.equal(weights(plain.flow), weights(by_hand.flow))
    assert by_hand.history == plain.history
    assert by_hand.best["loss"] == plain.best["nll"]
    assert "nll" not in by_hand.best


def test_what_is_asked_for_is_minimised() -> None:
    def shifted(flow: diffeo.Flow, x: Tensor, context: Tensor | None) -> Tensor:
        return -flow.log_prob(x + 5, context)

    result = diffeo.fit(small(), rows(), objective=shifted, steps=100, lr=2e-2, batch_size=64)
    assert result.flow.sample((500,)).mean() > 3


def test_a_stream_may_bring_weights_along() -> None:
    x = rows(256)
    batches = [(part, (part[:, :1] > 1).float()) for part in x.split(64)]

    def weighted(flow: diffeo.Flow, x: Tensor, weight: Tensor | None) -> Tensor:
        assert weight is not None
        return -weight[:, 0] * flow.log_prob(x)

    result = diffeo.fit(small(), batches, objective=weighted, valid=None, steps=60, lr=2e-2)
    assert result.best == {"step": 60}
    assert (result.flow.sample((500,))[:, 0] > 1).float().mean() > 0.7


def test_a_module_may_have_parameters_and_be_given_as_its_class() -> None:
    flow = small()
    objective = Tempered(flow)
    diffeo.fit(flow, rows(), objective=objective, steps=30, lr=0.05)
    assert objective.log_t.item() < 0.9
    result = diffeo.fit(small(), rows(), objective=Tempered, steps=5)
    assert result.best["loss"] > 0


def test_noise_comes_from_the_seed_and_a_resumed_run_is_the_same(tmp_path: Path) -> None:
    def fitted(out: Path, steps: int, **args: Any) -> diffeo.training.FitResult:
        args = {"objective": noisy, "eval_every": 4, "warmup": 2, "batch_size": 64} | args
        flow = diffeo.models.nsf((2,), layers=2, hidden=(8,))  # which draws no noise itself
        return diffeo.fit(flow, rows(), steps=steps, out=out, **args)

    def stop(p: Progress) -> None:
        if p.step == 8:
            raise KeyboardInterrupt

    before = torch.get_rng_state()
    whole = fitted(tmp_path / "whole", 16)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "cut", 16, progress=stop, checkpoint_seconds=0.0)
    resumed = fitted(tmp_path / "cut", 16, resume=True)
    assert torch.equal(weights(whole.flow), weights(resumed.flow))
    with pytest.raises(CheckpointError, match="objective was noisy and is now likelihood"):
        fitted(tmp_path / "cut", 16, resume=True, objective=likelihood)
    with pytest.raises(CheckpointError, match="objective was noisy and is now None"):
        fitted(tmp_path / "cut", 16, resume=True, objective=None)


def test_progress_does_not_call_it_nats() -> None:
    said: list[str] = []
    diffeo.fit(
        small(), rows(), objective=likelihood, steps=2, progress=lambda p: said.append(str(p))
    )
    assert said
    assert all(line.endswith("(your objective)") for line in said)


@pytest.mark.parametrize(
    ("objective", "args", "error", "words"),
    [
        (lambda flow, x, c: -flow.log_prob(x).mean(), {}, ShapeError, "one a row is needed"),
        (lambda flow, x, c: -flow.log_prob(x)[:, None], {}, ShapeError, "one a row is needed"),
        ("likelihood", {}, ConfigError, "must be a function"),
        (Tempered(small()), {}, ConfigError, "does not hold the flow"),
        (likelihood, {"precision": "bfloat16"}, ConfigError, "options of maximum likelihood"),
    ],
)
def test_what_is_no_objective_is_refused(
    objective: Any, args: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        diffeo.fit(small(), rows(), objective=objective, steps=2, **args)
