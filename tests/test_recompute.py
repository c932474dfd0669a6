"""Constant memory in depth: the gradients are those of a chain, the memory is not, and what cannot
be inverted is noticed.
"""

from __future__ import annotations

import copy
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import diffeo
from cases import TRANSFORMS, randomise
from diffeo import Chain, Flow, Transform
from diffeo.bases import Normal
from diffeo.core.errors import ConfigError, StoreError
from diffeo.domains.image import bits_of
from diffeo.layers import ActNorm, Coupling, LULinear, Recompute
from diffeo.layers.memory.recompute import recomputing
from diffeo.maps import Affine


def _benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "memory", Path(__file__).parents[1] / "benchmarks" / "memory.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


memory = _benchmark()

MODELS: dict[str, tuple[Callable[..., Flow], tuple[int, ...], tuple[int, ...] | None]] = {
    "nsf": (
        lambda **a: diffeo.models.nsf((5,), (2,), layers=4, hidden=(16,), mixing="lu", **a),
        (5,),
        (2,),
    ),
    "nsf-dropout": (
        lambda **a: diffeo.models.nsf((5,), layers=4, hidden=(16,), dropout=0.3, **a),
        (5,),
        None,
    ),
    "nsf-circles": (
        lambda **a: diffeo.models.nsf((2,), layers=2, supports=["circular:-3:3", "real"], **a),
        (2,),
        None,
    ),
    "realnvp": (
        lambda **a: diffeo.models.realnvp((5,), (2,), layers=6, hidden=(16,), **a),
        (5,),
        (2,),
    ),
    "nice": (
        lambda **a: diffeo.models.nice((5,), layers=4, hidden=(16,), mixing="permute", **a),
        (5,),
        None,
    ),
    "lattice": (
        lambda **a: diffeo.models.lattice((1, 4, 4), layers=4, spectrum=True, **a),
        (1, 4, 4),
        None,
    ),
    "glow": (
        lambda **a: diffeo.models.glow(
            (2, 8, 8), (3,), bits=None, scales=3, steps=2, width=8, size="tiny", **a
        ),
        (2, 8, 8),
        (3,),
    ),
    "glow-odd": (
        lambda **a: diffeo.models.glow((1, 7, 6), size="tiny", steps=1, width=8, **a),
        (1, 7, 6),
        None,
    ),
    "realnvp-image": (
        lambda **a: diffeo.models.realnvp((1, 8, 8), size="tiny", bits=None, **a),
        (1, 8, 8),
        None,
    ),
    "flowpp": (
        lambda **a: diffeo.models.flowpp((2, 4, 4), size="tiny", steps=(1, 1, 1), **a),
        (2, 4, 4),
        None,
    ),
    "jet": (lambda **a: diffeo.models.jet((1, 4, 4), size="tiny", bits=None, **a), (1, 4, 4), None),
}


COUPLINGS = [name for name, case in TRANSFORMS.items() if isinstance(case.build(), Coupling)]


def _data(
    flow: Flow, event: tuple[int, ...], context: tuple[int, ...] | None
) -> tuple[Tensor, Tensor | None]:
    g = torch.Generator().manual_seed(2)
    if bits_of(flow) is not None:
        return torch.randint(0, 256, (12, *event), generator=g).to(torch.uint8), None
    x = torch.randn(12, *event, generator=g, dtype=torch.float64)
    return x, (
        None if context is None else torch.randn(12, *context, generator=g, dtype=torch.float64)
    )


def gradients(
    flow: nn.Module, direction: str, x: Tensor, context: Tensor | None
) -> dict[str, Tensor]:
    """Values and gradients by input, context and every parameter."""
    leaves = {"x": x.clone(), "context": None if context is None else context.clone()}
    inputs = {
        name: t.requires_grad_()
        for name, t in leaves.items()
        if t is not None and t.is_floating_point()
    }
    torch.default_generator.manual_seed(3)
    y, logdet = getattr(flow, direction)(leaves["x"], leaves["context"])
    g = torch.Generator().manual_seed(4)
    weight = torch.randn(y.shape, generator=g, dtype=torch.float64).to(y.dtype)
    wanted = inputs | dict(flow.named_parameters())
    found = torch.autograd.grad(
        (y * weight).sum() + logdet.square().sum() / 10, list(wanted.values()), allow_unused=True
    )
    return {"y": y.detach(), "logdet": logdet.detach()} | {
        n: g for n, g in zip(wanted, found, strict=True) if g is not None
    }


def furthest(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The largest relative distance of two tensors of the same name."""
    assert a.keys() == b.keys()
    return max(float((a[n] - b[n]).norm() / a[n].norm().clamp_min(1e-12)) for n in a)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", list(MODELS))
def test_gradients_are_those_of_a_chain(name: str, dtype: torch.dtype) -> None:
    """In x, context and every parameter, in both directions; dropout and dequantisation draw the
    same.
    """
    build, event, context_shape = MODELS[name]
    store, invert = build(seed=1), build(seed=1, memory="invert")
    x, context = _data(store, event, context_shape)
    store.initialize(
        x if not x.is_floating_point() else x.float(), None if context is None else context.float()
    )
    randomise(store, spread=0.05)
    invert.load_state_dict(store.state_dict())
    both = store.to(dtype).train(), invert.to(dtype).train()
    x = x.to(dtype) if x.is_floating_point() else x
    context = None if context is None else context.to(dtype)
    starts = {"encode": x}
    if store.exact:
        starts["decode"] = torch.randn(12, *store.base.event_shape, dtype=dtype)
    for direction, start in starts.items():
        apart = furthest(*(gradients(flow, direction, start, context) for flow in both))
        assert apart < (1e-3 if dtype == torch.float32 else 1e-9), direction
    assert any(
        isinstance(part, Recompute) and any(inverted for inverted, _ in part.runs)
        for part in invert.modules()
    )
    assert not any(part.kept["forward"] for part in invert.modules() if isinstance(part, Recompute))


@pytest.mark.parametrize("name", COUPLINGS)
def test_every_coupling_is_retraced(name: str) -> None:
    """Its shortcut gives the input and the gradients that inverting and running it again would."""
    case = TRANSFORMS[name]
    links = [Chain([]), case.ready()]  # the first link of a run is never inverted
    x, context = case.inputs()
    chain, recompute = (
        gradients(kind(links), "forward", x, context) for kind in (Chain, Recompute)
    )
    assert furthest(chain, recompute) < 1e-9


def test_values_are_those_of_a_chain_bit_for_bit() -> None:
    flow = randomise(diffeo.models.nsf((4,), layers=4))
    x = torch.randn(20, 4)
    expected = flow.log_prob(x)
    with recomputing(flow):
        assert isinstance(flow.transform, Recompute)
        assert torch.equal(flow.log_prob(x), expected)
        with torch.no_grad():
            assert torch.equal(flow.log_prob(x), expected)


def test_what_is_inverted_and_what_is_not() -> None:
    """Links that draw noise, the front, and what recomputes by itself go as they do in a chain."""
    flow = diffeo.models.glow((1, 7, 6), size="tiny", steps=1, scales=2, memory="invert")
    assert isinstance(flow.transform, Recompute)
    names = [
        (inverted, [type(flow.transform[i]).__name__ for i in run])
        for inverted, run in flow.transform.runs
    ]
    expected = ["Squeeze", "ActNorm", "Conv1x1", "Coupling", "Coupling"]
    assert names == [
        (False, ["Dequantize"]),
        (True, ["ActNorm"]),
        (False, ["Pad"]),
        (True, expected),
        (False, ["FactorOut"]),
    ]
    table = diffeo.models.nsf((1,), layers=2, supports=["positive"], memory="invert").transform
    assert isinstance(table, Recompute)
    assert table.runs == [(False, [0, 1]), (True, [2, 3])]


# --- memory ---------------------------------------------------------------------------------------


def _peak(flow: Flow, x: Tensor) -> int:
    return memory.peak(flow, [x], lambda: -flow.log_prob(x).mean())


@pytest.mark.parametrize("way", ["store", "invert"])
def test_memory_does_not_grow_with_the_depth(way: str) -> None:
    """Eight times the layers, at most 1.3 times the activations; a chain needs seven times as
    many.
    """
    x = torch.randn(256, 16)
    few, many = (
        _peak(diffeo.models.nsf((16,), layers=layers, hidden=(64, 64), memory=way), x)
        for layers in (8, 64)
    )
    assert many <= 1.3 * few if way == "invert" else many > 6 * few


@pytest.mark.parametrize("way", ["store", "invert"])
def test_memory_does_not_grow_with_the_steps_of_several_scales(way: str) -> None:
    x = torch.randint(0, 256, (16, 1, 16, 16)).to(torch.uint8)
    few, many = (
        _peak(diffeo.models.glow((1, 16, 16), size="tiny", steps=n, memory=way), x) for n in (2, 12)
    )
    assert many <= 1.3 * few if way == "invert" else many > 3 * few


# --- what cannot be inverted well -----------------------------------------------------------------


class Crude(Transform):
    """y = w x, whose inverse is off by a share `error`."""

    def __init__(self, error: float) -> None:
        super().__init__()
        self.weight, self.error = nn.Parameter(torch.tensor(1.1)), error

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x * self.weight, self.weight.log().expand(len(x)) * x.shape[1]

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y / self.weight * (1 + self.error), -self.weight.log().expand(len(y)) * y.shape[1]


class Stretch(Transform):
    """y = A x with a condition number of 10⁵, in directions that are no axes."""

    def __init__(self) -> None:
        super().__init__()
        turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
        self.weight = nn.Parameter(turn @ torch.tensor([1.0, 1e-5]).diag() @ turn.T)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x @ self.weight.T, torch.linalg.slogdet(self.weight)[1].expand(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.linalg.solve(self.weight, y.T).T, -torch.linalg.slogdet(self.weight)[1].expand(
            len(y)
        )


def _pair(links: list[Transform]) -> tuple[Chain, Recompute]:
    randomise(nn.ModuleList(link for link in links if not isinstance(link, Stretch)), spread=0.2)
    return Chain(copy.deepcopy(links)), Recompute(links)


def _bent() -> Transform:
    return Coupling((2,), Affine(), diffeo.conditioners.MLP((8,), "silu"))


@pytest.mark.parametrize("bad", [lambda: Crude(0.05), Stretch])
def test_a_link_that_does_not_invert_is_checkpointed(bad: Callable[[], Transform]) -> None:
    """The first gradient is right already, the bad link and no other is noted, and it is not
    inverted again.
    """
    chain, recompute = _pair([_bent(), ActNorm(2), bad(), LULinear(2), _bent()])
    x = torch.randn(30, 2)
    for _ in range(2):
        assert (
            furthest(gradients(chain, "forward", x, None), gradients(recompute, "forward", x, None))
            < 1e-3
        )
        assert recompute.kept == {"forward": {2}, "inverse": set()}
    recompute[2].inverse = None  # type: ignore[assignment, method-assign]
    gradients(recompute, "forward", x, None)


def test_what_does_not_invert_is_noticed_in_the_inverse_direction() -> None:
    chain, recompute = _pair([_bent(), Crude(0.05), _bent(), _bent()])
    y = torch.randn(30, 2)
    for _ in range(2):
        assert (
            furthest(gradients(chain, "inverse", y, None), gradients(recompute, "inverse", y, None))
            < 1e-3
        )
    assert recompute.kept == {"forward": set(), "inverse": {1}}


def test_small_errors_do_not_add_up() -> None:
    """Each of twelve links is off by a third of the tolerance: some inputs are stored, not all."""
    chain, recompute = _pair([Crude(3.3e-4) for _ in range(12)])
    x = torch.randn(30, 2)
    for _ in range(2):
        assert (
            furthest(gradients(chain, "forward", x, None), gradients(recompute, "forward", x, None))
            < 2e-3
        )
    assert 2 <= len(recompute.kept["forward"]) <= 4


def test_a_link_that_is_no_map_back_is_noticed() -> None:
    """Values beyond the ends of a circle come back wrapped."""
    wrap = diffeo.layers.Wrap(0.0, 1.0)
    chain, recompute = _pair([LULinear(2), wrap, _bent()])
    x = torch.randn(30, 2)
    assert (
        furthest(gradients(chain, "forward", x, None), gradients(recompute, "forward", x, None))
        < 1e-3
    )
    assert recompute.kept["forward"] == {1}


def test_a_row_that_is_not_a_number_is_no_error_of_inverting() -> None:
    recompute = _pair([_bent(), _bent(), _bent()])[1]
    x = torch.randn(30, 2)
    x[3] = torch.nan
    recompute(x)[1][:3].sum().backward()
    assert recompute.kept["forward"] == set()


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan")])
def test_the_tolerance_is_positive(tolerance: float) -> None:
    with pytest.raises(ConfigError, match="tolerance"):
        Recompute([LULinear(2)], tolerance)


# --- autograd -------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", [False, True])
def test_half_precision_networks(inside: bool) -> None:
    """Gradients under autocast are those of a chain under autocast, as far as bfloat16 goes, and no
    weight is left out.
    """
    flow = randomise(diffeo.models.realnvp((6,), layers=6, hidden=(32,)), spread=0.1)
    x = torch.randn(200, 6)

    def found() -> dict[str, Tensor]:
        flow.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = -flow.log_prob(x).mean()
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        return {name: p.grad.clone() for name, p in flow.named_parameters() if p.grad is not None}

    store = found()
    with recomputing(flow):
        assert furthest(store, found()) < 0.02


def test_only_what_needs_a_gradient_gets_one() -> None:
    recompute = Recompute([_bent(), _bent()])
    for parameter in recompute[0].parameters():
        parameter.requires_grad_(False)
    x = torch.randn(5, 2)
    recompute(x)[1].sum().backward()
    assert x.grad is None
    assert all(p.grad is None for p in recompute[0].parameters())
    assert any(p.grad is not None for p in recompute[1].parameters())


def test_a_link_used_twice_gets_both_gradients() -> None:
    shared, last = _bent(), LULinear(2)
    chain, recompute = _pair([shared, last, shared])
    x = torch.randn(5, 2)
    assert (
        furthest(gradients(chain, "forward", x, None), gradients(recompute, "forward", x, None))
        < 1e-5
    )


def test_weights_changed_before_backward_are_an_error() -> None:
    recompute = Recompute([_bent(), LULinear(2)])
    loss = recompute(torch.randn(5, 2))[1].sum()
    with torch.no_grad():
        recompute[1].bias.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_second_derivatives() -> None:
    """The gradient of the length of a gradient, in x, context and weights, is that of a chain."""
    flow = randomise(
        diffeo.models.realnvp((2,), (2,), layers=3, hidden=(8,), activation="silu", dropout=0.3),
        spread=0.2,
    ).double()

    def found() -> list[Tensor | None]:
        torch.default_generator.manual_seed(1)
        x, context = (
            torch.ones(5, 2).double().cumsum(0).requires_grad_(),
            torch.ones(5, 2).double().requires_grad_(),
        )
        (first,) = torch.autograd.grad(
            flow.log_prob(2 * x, context * x).sum(), x, create_graph=True
        )
        return list(
            torch.autograd.grad(
                first.square().sum(), [x, context, *flow.parameters()], allow_unused=True
            )
        )

    store = found()
    with recomputing(flow):
        for one, two in zip(store, found(), strict=True):
            assert (one is None) == (two is None)
            assert one is None or two is None or torch.allclose(one, two, rtol=1e-9)


def test_func_transforms_see_a_plain_chain() -> None:
    recompute = _pair([_bent(), LULinear(2)])[1]
    x = torch.randn(2)
    jacobian = torch.func.jacrev(lambda row: recompute(row[None])[0][0])(x)
    assert torch.allclose(torch.linalg.slogdet(jacobian)[1], recompute(x[None])[1], atol=1e-5)


def test_global_random_numbers_are_left_alone() -> None:
    flow = diffeo.models.nsf((4,), layers=3, dropout=0.5, memory="invert").train()
    loss = flow.log_prob(torch.randn(20, 4)).sum()
    before = torch.get_rng_state()
    loss.backward()
    assert torch.equal(torch.get_rng_state(), before)


# --- models, files, fit ---------------------------------------------------------------------------


def test_memory_is_store_or_invert() -> None:
    with pytest.raises(ConfigError, match="memory"):
        diffeo.models.nsf((2,), memory="forget")
    with pytest.raises(ConfigError, match="memory"):
        diffeo.fit(diffeo.models.nsf((2,)), torch.randn(100, 2), memory="forget", steps=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["nsf", "glow"])
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    """The recipe says how memory is used; the weights are the same, so either way loads those of
    the other.
    """
    build, event, context = MODELS[name]
    invert = randomise(build(memory="invert"), spread=0.05).eval()
    x, given = _data(invert, event, context)
    diffeo.save(invert, tmp_path)
    loaded = diffeo.load(tmp_path)
    assert isinstance(loaded.transform, Recompute)
    assert torch.equal(loaded.log_prob(x, given), invert.log_prob(x, given))
    other = diffeo.load(tmp_path, into=build())
    assert isinstance(other.transform, Chain)
    assert torch.equal(other.log_prob(x, given), invert.log_prob(x, given))


def test_a_hostile_word_for_memory_is_refused(tmp_path: Path) -> None:
    flow = diffeo.models.nsf((2,), layers=1)
    assert flow.recipe is not None
    flow.recipe["args"]["memory"] = "forget"
    diffeo.save(flow, tmp_path)
    with pytest.raises(StoreError, match="memory"):
        diffeo.load(tmp_path)


def _rows() -> Tensor:
    x = torch.randn(600, 3, generator=torch.Generator().manual_seed(0))
    x[:, 1:] += 0.5 * x[:, :1] ** 2
    return x


def _fitted(**args: Any) -> diffeo.training.FitResult:
    return diffeo.fit(
        diffeo.models.nsf((3,), layers=4, hidden=(16,), dropout=0.1), _rows(), steps=100, **args
    )


def test_fit_trains_to_the_same_loss_and_leaves_the_flow_as_it_was(tmp_path: Path) -> None:
    store, invert = _fitted(), _fitted(memory="invert", out=tmp_path)
    assert invert.best["nll"] == pytest.approx(store.best["nll"], abs=0.01)
    assert invert.best["nll"] < invert.history[0]["valid"] - 0.1
    assert invert.settings["memory"] == "invert"
    assert isinstance(invert.flow.transform, Chain)
    assert isinstance(diffeo.load(tmp_path).transform, Chain)


def test_fit_stores_nothing_of_any_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training goes through the inverting backward, also of chains within chains; an error puts
    everything back.
    """
    flow = diffeo.models.glow((1, 8, 8), size="tiny", steps=1, width=4)
    seen: set[str] = set()

    def loss(self: object, *batch: Tensor) -> Tensor:
        seen.update(type(part).__name__ for part in flow.modules())
        raise KeyboardInterrupt

    monkeypatch.setattr(diffeo.training.NegativeLogLikelihood, "forward", loss)
    with pytest.raises(KeyboardInterrupt):
        diffeo.fit(
            flow, torch.randint(0, 256, (50, 1, 8, 8)).to(torch.uint8), steps=1, memory="invert"
        )
    assert "Recompute" in seen
    assert "Chain" not in seen
    assert not any(isinstance(part, Recompute) for part in flow.modules())


def test_resume_is_bit_identical(tmp_path: Path) -> None:
    whole = _fitted(memory="invert", eval_every=20)

    def stop(p: diffeo.training.Progress) -> None:
        if p.step >= 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _fitted(memory="invert", eval_every=20, out=tmp_path, progress=stop, checkpoint_seconds=0.0)
    resumed = _fitted(memory="invert", eval_every=20, out=tmp_path, resume=True)
    for one, two in zip(
        whole.flow.state_dict().values(), resumed.flow.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two)


def test_variational_training_goes_through_the_inverse() -> None:
    """Reparameterised samples and their densities have the gradients of a chain."""

    def found(flow: Flow) -> Iterator[Tensor]:
        x, log_q = flow.sample_and_log_prob((200,), generator=torch.Generator().manual_seed(1))
        loss = (log_q + 0.5 * (x - 1).square().sum(1)).mean()
        yield from torch.autograd.grad(loss, list(flow.parameters()))

    flow = Flow(randomise(Chain([_bent(), LULinear(2), _bent()])), Normal(2))
    store = list(found(flow))
    with recomputing(flow):
        for one, two in zip(store, found(flow), strict=True):
            assert torch.allclose(one, two, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    """Gradients are averaged over processes as those of a chain are."""
    script = tmp_path / "child.py"
    script.write_text(
        f"import sys, os, torch, diffeo; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_recompute import _rows\n"
        "torch.set_num_threads(1)\n"
        "def weights(way, **args):\n"
        "    torch.manual_seed(0)\n"
        "    flow = diffeo.models.nsf((3,), layers=3, hidden=(16,), **args)\n"
        "    flow = diffeo.fit(flow, _rows(), steps=10, memory=way).flow\n"
        "    return torch.cat([t.double().flatten() for t in flow.state_dict().values()])\n"
        "ways = [weights('store'), weights('invert'), weights('store', memory='invert')]\n"
        f"torch.save(ways, {str(tmp_path)!r} + '/w' + os.environ['RANK'])\n"
    )
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "--master-port=29577",
        str(script),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-9000:]
    one, two = (torch.load(tmp_path / f"w{rank}") for rank in (0, 1))
    assert all(map(torch.equal, one, two))
    for other in one[1:]:
        assert torch.allclose(one[0], other, rtol=1e-3, atol=1e-5)
