"""The checkup says what is right, and finds what is wrong."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import diffeo
from diffeo.core.errors import DataError
from diffeo.core.transform import Transform


def flow(**args: object) -> diffeo.Flow:
    model = diffeo.models.nsf((3,), layers=3, hidden=(16,), mixing="lu", **args)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model


class Broken(Transform):
    """Doubles, and says that it does not; or forgets a little on the way back."""

    def __init__(self, logdet: float = 3 * math.log(2), forget: float = 0.0) -> None:
        super().__init__()
        self.logdet, self.forget = logdet, forget

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return 2 * x, x.new_full((len(x),), self.logdet)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y / 2 + self.forget, y.new_full((len(y),), -self.logdet)


def with_layer(layer: Transform) -> diffeo.Flow:
    return diffeo.Flow(diffeo.Chain([*flow().transform, layer]), diffeo.bases.Normal(3))


def test_a_sound_flow() -> None:
    report = diffeo.check(flow(), torch.randn(500, 3))
    assert report.ok, report.verdict
    assert report.logdet_autograd_max < 1e-10
    assert report.round_trip_max < 1e-4
    assert report.round_trip_p999 <= report.round_trip_max
    assert "sound" in report.verdict
    assert set(report.as_dict()) >= {"round_trip_max", "worst_layer", "outside_box", "verdict"}


def test_a_wrong_logdet_is_found() -> None:
    report = diffeo.check(with_layer(Broken(logdet=0.0)), torch.randn(100, 3))
    assert report.logdet_autograd_max == pytest.approx(3 * math.log(2), rel=1e-6)
    assert not report.ok
    assert "autograd" in report.verdict


def test_the_layer_that_does_not_invert_is_named() -> None:
    report = diffeo.check(with_layer(Broken(forget=0.01)), torch.randn(100, 3))
    assert "Broken" in report.worst_layer
    assert "do not come back" in report.verdict


def test_outliers_show_as_the_share_outside_the_box() -> None:
    x = torch.randn(100, 3)
    x[:20] *= 1000
    report = diffeo.check(flow(), x)
    assert report.outside_box is not None
    assert report.outside_box > 0.05
    assert "bound" in report.verdict


def test_rows_outside_a_support_are_counted() -> None:
    x = torch.rand(50, 3).double() + 0.1
    x[:4, 1] = -1
    report = diffeo.check(flow(supports=["real", "positive", "circular:0:1"]), x)
    assert report.non_finite == 4
    assert report.round_trip_max < 1e-4


def test_integers_and_contexts_and_one_column() -> None:
    x = torch.randint(0, 9, (60, 3)).double()
    report = diffeo.check(flow(supports=["integer"] * 3), x)
    assert report.logdet_autograd_max is None
    assert report.round_trip_max == 0
    conditional = diffeo.models.nsf((1,), (2,), layers=2, hidden=(8,))
    assert diffeo.check(conditional, torch.randn(40, 1), torch.randn(40, 2)).ok


def test_badly_scaled_columns_do_not_hide_or_invent_errors() -> None:
    scale = torch.tensor([1e-30, 1.0, 1e30], dtype=torch.float64)
    x = torch.randn(200, 3, dtype=torch.float64) * scale
    model = flow(supports=["real"] * 3).initialize(x)
    report = diffeo.check(model, x)
    assert report.ok, report.verdict
    with pytest.raises(DataError, match="no rows"):
        diffeo.check(model, x[:0])
