"""Small version of `benchmarks/roundtrip.py`: how exactly models invert, as built, trained and with
weights doubled.

What a coupling flow can lose is set by how much the decoder stretches: a latent held in float32 is
known to 6e-8 of itself, and every algorithm loses at least that times the local stretch. So the
tests are of two kinds: fixed bounds where the nets are tame (as built; trained nets on rows like
the data), and, everywhere else, bounds that are a small multiple of what rounding the latents alone
would lose.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

import diffeo

MODELS = ("realnvp", "nsf")


def _benchmark() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "roundtrip.py"
    spec = importlib.util.spec_from_file_location("roundtrip", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["roundtrip"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


roundtrip = _benchmark()
DATA = roundtrip._heavy_tails(torch.Generator().manual_seed(0))
DATA = roundtrip._standardised(DATA)[:, :4]


@pytest.fixture(scope="module", params=MODELS)
def states(request: pytest.FixtureRequest) -> dict[str, diffeo.Flow]:
    """A small net in the four states."""
    build = diffeo.models.MODELS[request.param]

    def smaller(event_shape: tuple[int, ...], **_: object) -> diffeo.Flow:
        return build(event_shape, layers=4, hidden=(32, 32))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(diffeo.models.MODELS, request.param, smaller)
        return dict(roundtrip.states(request.param, DATA, steps=60))


def _gap(flow: diffeo.Flow, x: Tensor) -> Tensor:
    with torch.no_grad():
        return (flow.decode(flow.encode(x)[0])[0] - x).abs().amax(1)


def _lost_by_rounding(flow: diffeo.Flow, x: Tensor) -> Tensor:
    """What rounding a latent to float32 loses when everything else is float64: shakes of one unit
    in the last place.
    """
    wide = copy.deepcopy(flow).double()
    with torch.no_grad():
        z = wide.encode(x.double())[0]
        start = wide.decode(z)[0]
        g = torch.Generator().manual_seed(0)
        lost = torch.zeros(len(x), dtype=torch.float64)
        for _ in range(16):
            shake = 1 + 2**-23 * (2 * torch.rand(z.shape, generator=g, dtype=torch.float64) - 1)
            lost = torch.maximum(lost, (wide.decode(z * shake)[0] - start).abs().amax(1))
    return lost


def test_as_built(states: dict[str, diffeo.Flow]) -> None:
    """±10 σ, edges and knots included: the whole target."""
    x = roundtrip.points(states["init"], DATA, 2000)
    assert _gap(states["init"], x).max() <= 1e-5
    assert roundtrip.errors(states["init"], x, torch.float64).round_trip <= 1e-13


def test_trained_on_rows_like_the_data(states: dict[str, diffeo.Flow]) -> None:
    """float32 to 1e-4 and float64 to 1e-9, values and log-dets."""
    flow = states["trained"]
    x = DATA[:1000]
    single, double = (roundtrip.errors(flow, x, dtype) for dtype in (torch.float32, torch.float64))
    assert max(single.relative, single.logdet) <= 1e-4
    assert max(double.round_trip, double.logdet) <= 1e-9


@pytest.mark.parametrize("state", ["random × 2", "trained", "trained × 2"])
def test_no_worse_than_rounding(states: dict[str, diffeo.Flow], state: str) -> None:
    """On wild points and stressed nets: 99 rows of 100 lose less than 100 times what float32
    latents cost any algorithm.
    """
    flow = states[state]
    x = roundtrip.points(flow, DATA, 1000)
    excess = _gap(flow, x).double() / (_lost_by_rounding(flow, x) + 1e-6)
    assert excess.quantile(0.99) < 100
    assert excess.isfinite().all()


def test_float64_follows_float32(states: dict[str, diffeo.Flow]) -> None:
    """The float64 model gains what float64 has more: 2²⁹."""
    x = roundtrip.points(states["trained × 2"], DATA, 1000)
    wide = copy.deepcopy(states["trained × 2"]).double()
    assert (
        _gap(wide, x.double()).quantile(0.99)
        <= 1e-7 * _gap(states["trained × 2"], x).quantile(0.99) + 1e-12
    )


def test_knots_are_hit_exactly() -> None:
    """Inputs on the first spline's knots are found in a bin and come back, whatever the
    rounding.
    """
    flow = roundtrip.randomised(diffeo.models.nsf((4,), layers=1, hidden=(16,)))
    with torch.no_grad():
        x = roundtrip.on_knots(flow, DATA[:2000], torch.Generator().manual_seed(1))
        y, logdet = flow.encode(x)
    assert y.isfinite().all()
    assert logdet.isfinite().all()
    assert _gap(flow, x).max() <= 2e-5


def test_benchmark_prints_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command runs, and each line has the cells that its head names."""
    tiny: Callable[[], dict[str, Tensor]] = lambda: {"tails": DATA[:200]}  # noqa: E731
    monkeypatch.setattr(roundtrip, "data_sets", tiny)
    monkeypatch.setattr(
        sys, "argv", ["roundtrip.py", "--points", "50", "--steps", "2", "--models", "realnvp"]
    )
    roundtrip.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 4 * 2
    assert {line.count("|") for line in lines} == {12}
