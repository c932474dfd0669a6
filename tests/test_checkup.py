"""The checkup says what is right, and finds what is wrong."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import diffeo
import diffeo.checkup
from diffeo.core import passes
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


class Beside(Transform):
    """The identity, which says so but for a few nats, all of them or those in float32."""

    def __init__(self, nats: float, single: bool = False) -> None:
        super().__init__()
        self.nats, self.single = nats, single

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x, x.new_full((len(x),), self._nats(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y, y.new_full((len(y),), -self._nats(y))

    def _nats(self, x: Tensor) -> float:
        return self.nats if x.dtype == torch.float32 or not self.single else 0.0


def test_what_rounding_does_to_a_million_values_is_no_fault() -> None:
    """log p is then about −5 million nats, of which float32 knows one in four."""
    image = diffeo.Flow(diffeo.Chain([Beside(0.0)]), diffeo.bases.Normal((1, 1024, 1024)))
    report = diffeo.check(image, 3 * torch.randn(1, 1, 1024, 1024), jacobians=0)
    assert 0.05 < report.float32_log_prob_max < 1
    assert report.ok, report.verdict


def test_what_rounding_does_not_do_is() -> None:
    report = diffeo.check(with_layer(Beside(0.1, single=True)), torch.randn(100, 3))
    assert report.float32_log_prob_allowed == 0.05
    assert "float32 log-densities are off by 1.0e-01" in report.verdict


def test_the_tolerance_of_log_dets_is_per_entry() -> None:
    def checked(nats: float) -> diffeo.checkup.Checkup:
        return diffeo.check(
            diffeo.Flow(Beside(nats), diffeo.bases.Normal((1, 8, 8))), torch.randn(9, 1, 8, 8)
        )

    assert checked(4e-5).ok  # of 64 entries
    assert "autograd" in checked(8e-5).verdict


def test_large_images_are_looked_at_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "NUMBERS", 64 * 5 + 1)
    image = diffeo.Flow(diffeo.layers.ActNorm((1, 8, 8)), diffeo.bases.Normal((1, 8, 8)))
    assert diffeo.check(image, torch.randn(20, 1, 8, 8)).rows == 5
    assert diffeo.check(flow(), torch.randn(700, 3)).rows == 700
    large = diffeo.Flow(diffeo.layers.ActNorm((1, 50, 50)), diffeo.bases.Normal((1, 50, 50)))
    report = diffeo.check(large, torch.randn(3, 1, 50, 50))
    # a Jacobian of 2,500 × 2,500 each
    assert (report.rows, report.logdet_autograd_max) == (1, None)


def test_badly_scaled_columns_do_not_hide_or_invent_errors() -> None:
    scale = torch.tensor([1e-30, 1.0, 1e30], dtype=torch.float64)
    x = torch.randn(200, 3, dtype=torch.float64) * scale
    model = flow(supports=["real"] * 3).initialize(x)
    report = diffeo.check(model, x)
    assert report.ok, report.verdict
    with pytest.raises(DataError, match="no rows"):
        diffeo.check(model, x[:0])
