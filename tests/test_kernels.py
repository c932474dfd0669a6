"""Compiled kernels against their references in PyTorch, and what decides which of them serves."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import diffeo
from diffeo.kernels import build, elementwise
from diffeo.kernels import kernels as in_use
from diffeo.maps import Affine, CircularSpline, ElementwiseMap, LogisticMixture, RQSpline

MAPS: dict[str, ElementwiseMap] = {
    "affine": Affine(2.0),
    "spline": RQSpline(bins=8),
    "spline of 2 bins": RQSpline(bins=2, low=-1.0, high=4.0),
    "spline of 33 bins": RQSpline(bins=33),
    "free ends": RQSpline(bins=8, ends="free"),
    "circle": CircularSpline(bins=8),
    "mixture": LogisticMixture(components=4),
    "one logistic": LogisticMixture(components=1),
}
native = pytest.mark.skipif(not in_use().native, reason=f"no compiled kernels: {in_use().reason}")
maps = pytest.mark.parametrize("map", MAPS.values(), ids=MAPS)
directions = pytest.mark.parametrize("direction", ["forward", "inverse"])


@pytest.fixture
def references(monkeypatch):
    """Call it to send what follows to the references."""
    return lambda: monkeypatch.setattr(elementwise, "find", lambda *_: None)


def inputs(
    map: ElementwiseMap, shape: tuple[int, ...], dtype: torch.dtype, spread: float = 1.0
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = 3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    params = spread * torch.randn(*shape, map.num_params, generator=generator, dtype=torch.float64)
    return x.to(dtype), params.to(dtype)


def with_gradients(
    map: ElementwiseMap, direction: str, x: Tensor, params: Tensor
) -> tuple[Tensor, ...]:
    """Value, log-det by row, and the gradients of a random combination of both."""
    x, params = x.detach().requires_grad_(), params.detach().requires_grad_()
    y, logdet = getattr(map, f"{direction}_by_row")(x, params)
    generator = torch.Generator().manual_seed(2)
    weights = [
        torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t.dtype)
        for t in (y, logdet)
    ]
    grads = torch.autograd.grad([y, logdet], [x, params], weights)
    return y.detach(), logdet.detach(), *grads


@native
@maps
@directions
def test_float64_agrees_with_the_reference(map, direction, references):
    x, params = inputs(map, (257, 5), torch.float64, spread=2.0)
    compiled = with_gradients(map, direction, x, params)
    references()
    for ours, theirs in zip(compiled, with_gradients(map, direction, x, params), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@native
@maps
@directions
def test_float32_is_as_near_to_the_truth_as_the_reference(map, direction, references):
    x, params = inputs(map, (20_000, 1), torch.float32)
    compiled = with_gradients(map, direction, x, params)
    references()
    eager = with_gradients(map, direction, x, params)
    truth = with_gradients(map, direction, x.double(), params.double())
    for ours, theirs, exact in zip(compiled, eager, truth, strict=True):
        scale = exact.abs().clamp_min(1)
        # Gradients jump at knots: entries so near that rounding puts them into the next bin are
        # few.
        error, allowed = (
            ((ours - exact) / scale).abs().flatten(),
            ((theirs - exact) / scale).abs().flatten(),
        )
        for q in (0.5, 0.99, 0.999):
            assert error.quantile(q) <= 3 * allowed.quantile(q) + 4e-7


@native
@maps
@directions
def test_memory_layouts_give_the_same_bits(map, direction):
    x, params = inputs(map, (37, 3), torch.float32)
    plain = with_gradients(map, direction, x, params)
    by_column = with_gradients(
        map,
        direction,
        x.t().contiguous().t(),
        params.permute(1, 2, 0).contiguous().permute(2, 0, 1),
    )
    wide = torch.randn(37, 7)
    wide[:, 2:5] = x
    for other in (by_column, with_gradients(map, direction, wide[:, 2:5], params)):
        assert all(torch.equal(a, b) for a, b in zip(plain, other, strict=True))


@native
@maps
@directions
@pytest.mark.parametrize(
    "shape", [(1, 1), (3, 50), (2, 4, 6, 5), (40, 3, 2), (0, 4), (2, 3, 4, 2, 3)]
)
def test_any_shape(map, direction, shape, references):
    x, params = inputs(map, shape, torch.float64)
    cases = [(x, params)]
    if len(shape) == 4:
        cases.append(
            (
                x.to(memory_format=torch.channels_last),
                params.permute(0, 4, 1, 2, 3).contiguous().permute(0, 2, 3, 4, 1),
            )
        )
        cases.append((x.mT.contiguous().mT, params))  # rows and columns swapped in memory
    results = [with_gradients(map, direction, *case) for case in cases]
    references()
    truth = with_gradients(map, direction, x, params)
    for result in results:
        for ours, theirs in zip(result, truth, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@native
@maps
@directions
def test_rows_do_not_depend_on_their_neighbours(map, direction):
    x, params = inputs(map, (50, 2), torch.float32)
    whole = with_gradients(map, direction, x, params)
    part = getattr(map, f"{direction}_by_row")(x[7:18], params[7:18])
    assert torch.equal(whole[0][7:18], part[0])
    assert torch.equal(whole[1][7:18], part[1])
    x[3] = float("nan")
    assert torch.equal(getattr(map, direction)(x, params)[0][4:], whole[0][4:])


@native
@maps
@directions
def test_same_bits_for_any_number_of_threads(map, direction):
    x, params = inputs(map, (5_000, 3), torch.float32)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(with_gradients(map, direction, x, params))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@native
@maps
@directions
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_odd_inputs(map, direction, dtype, references):
    """NaN, infinities, denormals, zeros, exact knots (the params are zero, so knots are even), the
    ends of the box.
    """
    tiny = torch.finfo(dtype).tiny
    x = torch.tensor(
        [float("nan"), float("inf"), -float("inf"), tiny / 4, -tiny / 4, 0.0, -0.0, 1e30, -1e30],
        dtype=dtype,
    )
    x = torch.cat([x, torch.linspace(-5, 5, 9, dtype=dtype)])[:, None]
    params = torch.zeros(len(x), 1, map.num_params, dtype=dtype)
    x.requires_grad_()
    y, logdet = getattr(map, direction)(x, params)
    (slope,) = torch.autograd.grad(y.nan_to_num(0, 0, 0).sum(), x)
    references()
    y2, logdet2 = getattr(map, direction)(x, params)
    (slope2,) = torch.autograd.grad(y2.nan_to_num(0, 0, 0).sum(), x)
    for ours, theirs in ((y, y2), (logdet, logdet2), (slope, slope2)):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-6, equal_nan=True)


@native
@maps
@directions
def test_first_and_second_derivatives(map, direction):
    x, params = inputs(map, (3, 2), torch.float64)
    x.requires_grad_(), params.requires_grad_()
    call = getattr(map, f"{direction}_by_row")
    assert gradcheck(call, (x, params), eps=1e-6, atol=1e-4)
    assert gradgradcheck(call, (x, params), eps=1e-6, atol=1e-3)


@native
def test_wild_round_trip():
    x, params = inputs(MAPS["spline"], (100_000, 1), torch.float32, spread=5.0)
    for dtype, worst in ((torch.float32, 1e-4), (torch.float64, 1e-9)):
        y, _ = MAPS["spline"].forward(x.to(dtype), params.to(dtype))
        back, _ = MAPS["spline"].inverse(y, params.to(dtype))
        assert (back - x).abs().max() < worst


@native
@pytest.mark.parametrize("name", ["rq_spline", "affine", "logistic_mixture"])
def test_operators_keep_their_contract_with_pytorch(name):
    settings = {
        "rq_spline": (4, 0, -5.0, 5.0, 0.3, 1.0),
        "affine": (2.0,),
        "logistic_mixture": (3, 2.0, 3.0, 0.05),
    }[name]
    size = {"rq_spline": 11, "affine": 2, "logistic_mixture": 11}[name]
    for shape in ((6, 2), (2, 3, 4, 4), (5,)):
        for inverse in (False, True):
            for by_row in (False, True):
                x = torch.randn(shape, requires_grad=True)
                params = torch.randn(*shape, size, requires_grad=True)
                torch.library.opcheck(
                    torch.ops.diffeo.elementwise.default,
                    (x, params, name, [*settings, inverse], by_row),
                )


@native
def test_a_wrong_shape_is_an_error():
    with pytest.raises(RuntimeError, match="23 an entry"):
        MAPS["spline"].forward(torch.zeros(3, 2), torch.zeros(3, 2, 22))
    with pytest.raises(RuntimeError, match="shape of x"):
        MAPS["affine"].forward(torch.zeros(3, 2), torch.zeros(3, 1, 2))


@native
def test_transforms_of_functions_go_to_the_reference():
    flow = diffeo.models.nsf((3,), layers=2)
    x = torch.randn(4, 3)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: flow.log_prob(row[None])[0]))(x)
    point = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(flow.log_prob(point).sum(), point)
    torch.testing.assert_close(jacobian, expected, rtol=1e-4, atol=1e-5)


SCRIPT = (
    "import json, torch, diffeo; from diffeo.kernels import which; x = diffeo.models.nsf((2,),"
    " layers=1).log_prob(torch.zeros(3, 2)); print(json.dumps([which(), float(x[0])]))"
)


def start(**environment: str) -> subprocess.Popen[str]:
    env = {**os.environ, **environment}
    command = [sys.executable, "-c", SCRIPT]
    return subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def answer(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate()
    assert process.returncode == 0, err
    which, value = json.loads(out)  # and nothing else on stdout
    assert value == pytest.approx(-1.8378770)
    return which


@native
@pytest.mark.slow
def test_two_processes_may_build_at_once(tmp_path):
    both = [start(DIFFEO_CACHE=str(tmp_path / "new"), DIFFEO_KERNELS="native") for _ in range(2)]
    assert [answer(process).split()[0] for process in both] == ["native", "native"]
    assert len(list((tmp_path / "new").glob("*.so"))) == 1
    assert not list((tmp_path / "new").glob(".build*"))


def test_eager_on_request():
    assert answer(start(DIFFEO_KERNELS="eager")) == "eager (DIFFEO_KERNELS=eager)"


def test_falls_back_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    assert answer(
        start(DIFFEO_CACHE=str(tmp_path / "file" / "folder"), DIFFEO_KERNELS="")
    ).startswith("eager (")


def test_falls_back_without_a_compiler(tmp_path):
    reason = answer(start(DIFFEO_CACHE=str(tmp_path), PATH="", CXX="", DIFFEO_KERNELS="auto"))
    assert reason == "eager (there is no C++ compiler: install g++ or clang++, or set CXX)"


def test_a_failing_compiler_says_why(tmp_path):
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\necho 'x.cpp:1: error: not today' >&2\nexit 1\n")
    compiler.chmod(0o755)
    assert "not today" in answer(
        start(DIFFEO_CACHE=str(tmp_path), CXX=str(compiler), DIFFEO_KERNELS="auto")
    )
    process = start(DIFFEO_CACHE=str(tmp_path), CXX=str(compiler), DIFFEO_KERNELS="native")
    assert "BuildError: DIFFEO_KERNELS=native" in process.communicate()[1]
    assert process.returncode == 1


def test_an_unknown_choice_is_an_error():
    process = start(DIFFEO_KERNELS="quick")
    assert "DIFFEO_KERNELS=quick: use auto, native or eager" in process.communicate()[1]


@native
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("clang++") is None, reason="there is no clang++")
def test_clang_compiles_the_kernels(tmp_path):
    process = start(DIFFEO_CACHE=str(tmp_path), CXX="clang++", DIFFEO_KERNELS="native")
    assert answer(process).startswith("native (")


@native
@pytest.mark.slow
def test_older_instruction_sets_compile(tmp_path):
    for instructions in ("AVX2", "DEFAULT"):
        build.build(tmp_path / f"{instructions}.so", instructions)
        assert Path(tmp_path / f"{instructions}.so").stat().st_size > 10_000


@native
def test_images_that_overlap_in_memory():
    x = torch.randn(2_000, dtype=torch.float64).as_strided((2, 3, 4, 4), (100, 2, 4, 1))
    params = torch.randn(2, 3, 4, 4, 2, dtype=torch.float64)
    ours, theirs = MAPS["affine"].forward(x, params), MAPS["affine"].forward(x.contiguous(), params)
    assert all(map(torch.equal, ours, theirs))


class Mallinfo(ctypes.Structure):
    """What glibc's `mallinfo2` returns."""

    _fields_ = [(f"field{i}", ctypes.c_size_t) for i in range(10)]


def allocated() -> int:
    """Bytes that this process has from malloc: in use, and in maps of their own."""
    gc.collect()
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = Mallinfo
    found = libc.mallinfo2()
    return found.field7 + found.field4


def wrong() -> None:
    with pytest.raises(RuntimeError, match="2 an entry"):
        Affine().forward(torch.zeros(4, 2), torch.zeros(4, 2, 7))


CALLS: dict[str, Callable[[], object]] = {
    "elementwise": lambda: Affine().forward(*inputs(Affine(), (4, 2), torch.float32)),
    "elementwise, gradients": lambda: with_gradients(
        Affine(), "forward", *inputs(Affine(), (4, 2), torch.float32)
    ),
    "coupling": lambda: FLOW.log_prob(torch.zeros(4, 2)).detach(),
    "coupling, gradients": lambda: torch.autograd.grad(
        FLOW.log_prob(torch.zeros(4, 2)).sum(), list(FLOW.parameters())
    ),
    "coupling, inverse": lambda: FLOW.sample((4,)),
    "a wrong shape": wrong,
}
FLOW = diffeo.models.realnvp((2,), layers=2, hidden=(4,))


@native
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="asks glibc")
@pytest.mark.parametrize("name", CALLS)
def test_calls_leave_nothing_in_memory(name):
    times = 400
    call = CALLS[name]
    for _ in range(100):  # fills caches and free lists
        call()
    before = allocated()
    for _ in range(times):
        call()
    assert (allocated() - before) / times < 8
