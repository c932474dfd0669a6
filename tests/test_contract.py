"""The contract: every property that DESIGN.md promises of a transform or base, over the whole table
of cases.

The properties are plain functions `check_*(case)` that raise `AssertionError`; `test_teeth.py` runs
the same functions on couplings that are broken on purpose.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import diffeo
from cases import BASES, MAPS, PARTITIONS, TRANSFORMS, BaseCase, Case, Encoder
from diffeo import Inverse
from diffeo.core.errors import ContextError, ShapeError

# --- helpers --------------------------------------------------------------------------------------


def directions(
    case: Case, dtype: torch.dtype = torch.float64, n: int = 6
) -> Iterator[tuple[Any, Tensor, Tensor | None]]:
    """The transform's two directions, each with inputs that it meets: (function, input,
    context).
    """
    transform = case.ready(dtype)
    x, context = case.inputs(n, dtype)
    with torch.no_grad():
        y, _ = transform(x, context)
    yield transform, x, context
    yield transform.inverse, y.detach(), context


def apart(a: Tensor, b: Tensor, periods: tuple[float, ...] | float) -> Tensor:
    """|a − b| per entry, the short way round on circles."""
    period = torch.as_tensor(periods, dtype=a.dtype).expand_as(a)
    gap = a - b
    around = gap - period * torch.round(
        gap / torch.where(period > 0, period, torch.ones_like(period))
    )
    return torch.where(period > 0, around, gap).abs()


def tensors(thing: Any, seen: set[int] | None = None) -> Iterator[Tensor]:
    """Every tensor reachable through attributes, lists and dictionaries."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, (str, bytes, int, float, bool, type(None), type)):
        return
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, dict):
        for value in thing.values():
            yield from tensors(value, seen)
    elif isinstance(thing, (list, tuple, set, frozenset)):
        for value in thing:
            yield from tensors(value, seen)
    elif hasattr(thing, "__dict__") and not callable(getattr(thing, "__code__", None)):
        yield from tensors(vars(thing), seen)


class NoFloat64(TorchDispatchMode):
    """Raises as soon as an operation makes a float64 tensor."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        assert all(t.dtype != torch.float64 for t in tensors(out)), f"{func} made a float64 tensor"
        return out


def gradients(scalar: Tensor, wanted: list[Tensor]) -> list[Tensor]:
    """Gradients, zero where there is no dependence."""
    if not scalar.requires_grad:
        return [torch.zeros_like(w) for w in wanted]
    found = torch.autograd.grad(scalar, wanted, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(w) if g is None else g for g, w in zip(found, wanted, strict=True)]


def outputs_equal(a: nn.Module, b: nn.Module, case: Case, dtype: torch.dtype) -> None:
    """The same numbers, bit for bit, in both directions."""
    x, context = case.inputs(dtype=dtype)
    with torch.no_grad():
        outs = []
        for transform in (a, b):
            torch.default_generator.manual_seed(1)  # dequantisation draws
            y, there = transform(x, context)
            outs.append((y, there, *transform.inverse(y, context)))  # type: ignore[operator]
    for left, right in zip(*outs, strict=True):
        assert torch.equal(left, right)


def as_flow(case: Case) -> diffeo.Flow:
    """The case's transform in front of a normal base; a model is a flow already."""
    transform = case.ready(torch.float32)
    if isinstance(transform, Encoder):
        return transform.flow
    return diffeo.Flow(transform, diffeo.bases.Normal(transform.forward_shape(case.event)))


# --- properties of transforms ---------------------------------------------------------------------


def check_shapes(case: Case) -> None:
    """Both directions return (B, *event) of the promised shape and a log-det (B,); an empty batch
    passes.
    """
    transform = case.ready()
    out = transform.forward_shape(case.event)
    assert transform.inverse_shape(out) == case.event
    for n in (1, 4, 0):
        x, context = case.inputs(n)
        y, there = transform(x, context)
        again, back = transform.inverse(y, context)
        assert (y.shape, again.shape) == ((n, *out), (n, *case.event))
        assert there.shape == back.shape == (n,)


def check_wrong_shape(case: Case) -> None:
    """Events that a transform of fixed shape was not built for are refused when a flow is built."""
    transform = case.ready()
    wrong = (*case.event, 1, 1)
    with pytest.raises(ShapeError):
        transform.forward_shape(wrong)
    with pytest.raises(ShapeError):
        transform.inverse_shape((*transform.forward_shape(case.event), 1, 1))


def check_dtypes(case: Case) -> None:
    """float32 in, float32 out and float64 in, float64 out; only a declared data dtype differs."""
    for dtype in (torch.float32, torch.float64):
        (forward, x, context), (inverse, y, _) = directions(case, dtype)
        assert y.dtype == dtype
        assert (
            forward(x, context)[1].dtype == inverse(y, context)[1].dtype == dtype or case.data_dtype
        )
        assert inverse(y, context)[0].dtype == (case.data_dtype or dtype)


def check_no_float64(case: Case) -> None:
    """A float32 model makes no float64 tensor, forwards or backwards (sbi PR#912)."""
    for direction, x, context in directions(case, torch.float32):
        with NoFloat64():
            value, logdet = direction(x.clone().requires_grad_(), context)
            (value.sum() + logdet.sum()).backward()


def check_autocast(case: Case) -> None:
    """Under bfloat16 autocast values and log-dets stay float32 and the round trip holds."""
    transform = case.ready(torch.float32)
    x, context = case.inputs(dtype=torch.float32)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        y, there = transform(x, context)
        again, back = transform.inverse(y, context)
    assert y.dtype == torch.float32
    assert there.dtype == torch.float32
    assert back.dtype == torch.float32 or case.data_dtype
    assert again.dtype == (case.data_dtype or torch.float32)
    # a layer whose conditioner reads what another layer computed sees other roundings: hence the
    # loose bound
    assert apart(again, x.to(again.dtype), case.periods).max() < 1e-3 * (1 + x.abs().max())


def check_identity(case: Case) -> None:
    """As built, a transform is the identity and its log-det is 0: zero parameters are the
    identity.
    """
    transform = case.build().double()
    x, context = case.inputs()
    for direction, periods in ((transform, case.latent_periods), (transform.inverse, case.periods)):
        y, logdet = direction(x, context)
        assert apart(y, x, periods).max() < 1e-12
        assert logdet.abs().max() < 1e-12


def check_map_identity(case: Case) -> None:
    """With all parameters zero (not only heads), it is the identity as well."""
    transform = case.build().double()
    with torch.no_grad():
        for parameter in transform.parameters():
            parameter.zero_()
    x, context = case.inputs()
    y, logdet = transform(x, context)
    assert apart(y, x, case.latent_periods).max() < 1e-12
    assert logdet.abs().max() < 1e-12


def check_round_trip(case: Case) -> None:
    """inverse(forward(x)) = x and forward(inverse(y)) = y."""
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        transform = case.ready(dtype)
        x, context = case.inputs(32, dtype)
        y, _ = transform(x, context)
        again = transform.inverse(y, context)[0]
        if case.data_dtype is torch.uint8 and isinstance(transform, Encoder):
            # noise within rounding of the edge of a level may come back in the next one
            assert apart(again.to(dtype), x, 0.0).max() <= 1
            assert (again.to(dtype) != x).double().mean() < 0.01
            continue
        assert (
            apart(again, x.to(again.dtype), case.periods) / x.abs().clamp_min(1)
        ).max() <= tolerance
        if transform.exact:
            once_more = transform(again, context)[0]
            assert (
                apart(once_more, y, case.latent_periods) / y.abs().clamp_min(1)
            ).max() <= tolerance


def check_logdets_opposite(case: Case) -> None:
    """The log-dets of the two directions sum to 0."""
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        transform = case.ready(dtype)
        x, context = case.inputs(32, dtype)
        y, there = transform(x, context)
        back = transform.inverse(y, context)[1]
        assert ((there + back).abs() / there.abs().clamp_min(1)).max() <= tolerance


def check_logdet_is_slogdet(case: Case) -> None:
    """Each log-det is that of the Jacobian which autograd finds, row by row, in both directions."""
    for direction, x, context in directions(case, n=3):
        _, logdet = direction(x, context)
        for i in range(len(x)):
            row_context = None if context is None else context[i : i + 1]
            jacobian = torch.autograd.functional.jacobian(
                lambda row, c=row_context, f=direction: f(row[None], c)[0].flatten(), x[i]
            )
            truth = torch.linalg.slogdet(jacobian.reshape(x[i].numel(), -1))[1]
            assert abs(logdet[i] - truth) <= 1e-8 * (1 + abs(truth))


def check_gradients(case: Case) -> None:
    """Analytic gradients of value and log-det in x, context and parameters are those of finite
    differences.
    """
    for inverse in (False, True):
        transform = case.ready()
        x, context = case.inputs(4)
        with torch.no_grad():
            start = transform(x, context)[0] if inverse else x
        direction = transform.inverse if inverse else transform
        leaves = [start.clone().requires_grad_()] + (
            [] if context is None else [context.clone().requires_grad_()]
        )
        for kind in (0, 1):  # value, log-det
            _compare_with_differences(
                direction, leaves, list(transform.parameters()), context is not None, kind
            )


def _compare_with_differences(
    direction: Any, inputs: list[Tensor], weights: list[Tensor], conditional: bool, kind: int
) -> None:
    g = torch.Generator().manual_seed(8 + kind)
    with torch.no_grad():
        shape = direction(inputs[0], inputs[1] if conditional else None)[kind].shape
    cotangent = torch.randn(shape, generator=g, dtype=torch.float64)

    def scalar() -> Tensor:
        return (direction(inputs[0], inputs[1] if conditional else None)[kind] * cotangent).sum()

    groups = [[leaf] for leaf in inputs] + ([weights] if weights else [])
    found = gradients(scalar(), [leaf for group in groups for leaf in group])
    for group in groups:
        along = [torch.randn(leaf.shape, generator=g, dtype=torch.float64) for leaf in group]
        analytic = sum(
            float((grad * v).sum()) for grad, v in zip(found[: len(group)], along, strict=True)
        )
        found = found[len(group) :]
        numeric = _slope(scalar, group, along)
        assert abs(analytic - numeric) <= 2e-6 * (1 + abs(numeric)), (kind, analytic, numeric)


@torch.no_grad()
def _slope(
    scalar: Callable[[], Tensor], leaves: list[Tensor], along: list[Tensor], step: float = 1e-5
) -> float:
    values = []
    for sign in (1, -2):
        for leaf, v in zip(leaves, along, strict=True):
            leaf.add_(sign * step * v)
        values.append(float(scalar()))
    for leaf, v in zip(leaves, along, strict=True):
        leaf.add_(step * v)
    return (values[0] - values[1]) / (2 * step)


def check_rows_independent(case: Case) -> None:
    """Reordering the rows reorders the results; altering other rows, contexts included, changes
    nothing.
    """
    for direction, x, context in directions(case):
        order = torch.tensor([5, 2, 0, 1, 4, 3])
        torch.default_generator.manual_seed(1)
        value, logdet = direction(x, context)
        if not getattr(direction, "exact", True):
            continue  # noise is drawn per position
        moved, moved_logdet = direction(x[order], None if context is None else context[order])
        torch.testing.assert_close(moved, value[order], rtol=1e-12, atol=1e-10)
        torch.testing.assert_close(moved_logdet, logdet[order], rtol=1e-12, atol=1e-10)
        other, other_context = x.roll(1, 0), None if context is None else -context
        other[0] = x[0]
        if context is not None and other_context is not None:
            other_context[0] = context[0]
        altered, altered_logdet = direction(other, other_context)
        torch.testing.assert_close(altered[0], value[0], rtol=1e-12, atol=1e-10)
        torch.testing.assert_close(altered_logdet[0], logdet[0], rtol=1e-12, atol=1e-10)


def check_nan_stays_alone(case: Case) -> None:
    """A NaN in one row makes that row NaN and no other; its neighbours' gradients stay finite."""
    for direction, x, context in directions(case):
        torch.default_generator.manual_seed(1)
        value, logdet = direction(x, context)
        if not value.is_floating_point():
            continue  # pixels have no NaN
        bad = x.clone()
        bad[(2, *[-1] * (bad.dim() - 1))] = math.nan
        torch.default_generator.manual_seed(1)
        leaf = bad.requires_grad_()
        spoilt, spoilt_logdet = direction(leaf, context)
        keep = torch.arange(6) != 2
        torch.testing.assert_close(spoilt[keep], value[keep])
        torch.testing.assert_close(spoilt_logdet[keep], logdet[keep])
        assert (spoilt[2].sum() + spoilt_logdet[2]).isnan()
        total = spoilt[keep].sum() + spoilt_logdet[keep].sum()
        assert gradients(total, [leaf])[0][keep].isfinite().all()


def check_far(case: Case) -> None:
    """100 and a million standard deviations out, values, log-dets and all gradients are finite, in
    float32.
    """
    transform = case.ready(torch.float32)
    x, context = case.far_inputs(torch.float32)
    g = torch.Generator().manual_seed(4)
    scale = torch.tensor([100.0] * 4 + [1e6] * 4).view(
        -1, *[1] * len(transform.forward_shape(case.event))
    )
    y = torch.randn(8, *transform.forward_shape(case.event), generator=g) * scale
    for direction, start in ((transform, x), (transform.inverse, y)):
        leaves = [start.requires_grad_()] + ([] if context is None else [context.requires_grad_()])
        value, logdet = direction(start, context)
        assert value.isfinite().all()
        assert logdet.isfinite().all()
        # e^100 in float64 has a derivative that float32 cannot hold: there only the log-det's
        # gradients are asked for
        total = logdet.sum() if case.data_dtype else value.sum() + logdet.sum()
        wanted = leaves + list(transform.parameters())
        assert all(grad.isfinite().all() for grad in gradients(total, wanted))


def check_gradients_reach(case: Case) -> None:
    """Every parameter has a gradient that is not zero, in both directions."""
    transform = case.ready()
    x, context = case.inputs(16)
    weights = [p for p in transform.parameters() if p.numel()]
    y = transform(x, context)[0].detach()
    for direction, start in ((transform, x), (transform.inverse, y)):
        if direction is not transform and not transform.exact:
            continue  # rounding down has no gradient
        value, logdet = direction(start, context)
        total = (
            value * torch.arange(1, len(x) + 1).view(-1, *[1] * (value.dim() - 1))
        ).sum() + logdet.square().sum()
        if isinstance(transform, Encoder):  # a learnable base
            total = total + transform.flow.log_prob(x, context).sum()
        for (name, _), grad in zip(
            [(n, p) for n, p in transform.named_parameters() if p.numel()],
            gradients(total, weights),
            strict=True,
        ):
            assert grad.abs().max() > 0, f"no gradient reaches {name}"


def check_context_matters(case: Case) -> None:
    """Another context gives another result, in both directions."""
    for direction, x, context in directions(case):
        assert context is not None
        value, logdet = direction(x, context)
        other, other_logdet = direction(
            x, context + 1 if case.classes is None else (context + 1) % case.classes
        )
        changed = (value - other).flatten(1).abs().sum(1) + (logdet - other_logdet).abs()
        assert (changed > 1e-8).double().mean() > 0.6  # rows beyond a spline's box are untouched


def check_context_refused(case: Case) -> None:
    """A flow refuses a context that it does not take, one that is missing, and one of the wrong
    shape.
    """
    flow = as_flow(case)
    x, context = case.inputs(dtype=torch.float32)
    calls = (flow.log_prob, flow.encode)
    if case.context is None:
        for call in calls:
            with pytest.raises(ContextError, match="takes no context"):
                call(x, torch.zeros(len(x), 2))
        with pytest.raises(ContextError, match="takes no context"):
            flow.sample((2,), torch.zeros(2))
        return
    flow.log_prob(x, context)
    for call in (*calls, lambda x, c: flow.sample((2,), c)):
        with pytest.raises(ContextError, match="needs a context"):
            call(x, None)
        wrong = "does not end in" if case.context else "does not fit|whole numbers"
        with pytest.raises(ContextError, match=wrong):
            (
                call(x, torch.zeros(len(x) + 1, 1) - 1)
                if not case.context
                else call(x, torch.zeros(len(x), *case.context[:-1], case.context[-1] + 1))
            )


def check_state_dict(case: Case) -> None:
    """The state dictionary alone, loaded into a fresh build, restores every number, set-up
    included.
    """
    transform, other = case.ready(torch.float32), case.build().eval()
    other.load_state_dict(copy.deepcopy(transform.state_dict()), strict=True)
    outputs_equal(transform, other, case, torch.float32)


def check_deepcopy(case: Case) -> None:
    """A deep copy computes the same and shares nothing."""
    transform = case.ready(torch.float32)
    other = copy.deepcopy(transform)
    outputs_equal(transform, other, case, torch.float32)
    mine = {t.data_ptr() for t in transform.parameters() if t.numel()}
    assert not mine & {t.data_ptr() for t in other.parameters() if t.numel()}


def check_dtype_moves(case: Case) -> None:
    """float32 -> float64 -> float32 loses nothing, and the float64 model agrees with the float32
    one.
    """
    transform = case.ready(torch.float32)
    outputs_equal(transform, copy.deepcopy(transform).double().float(), case, torch.float32)
    x, context = case.inputs(dtype=torch.float32)
    wide = copy.deepcopy(transform).double()
    torch.default_generator.manual_seed(1)
    y, logdet = transform(x, context)
    if not transform.exact:
        return  # noise differs between dtypes
    y64, logdet64 = wide(x.double(), None if context is None else context.double())
    assert apart(y64, y.double(), case.latent_periods).max() < 1e-4 * (1 + y64.abs().max())
    assert (logdet64 - logdet).abs().max() < 1e-4 * (1 + logdet64.abs().max())


def check_meta(case: Case) -> None:
    """After `.to("meta")` no tensor reachable through any attribute is left behind."""
    moved = case.ready(torch.float32).to("meta")
    assert [t.shape for t in tensors(moved) if t.device.type != "meta"] == []


def check_printing(case: Case) -> None:
    """It prints, says what it is, and prints no tensors."""
    transform = case.ready()
    text = repr(transform)
    assert type(transform).__name__ in text
    assert "tensor(" not in text
    assert len(text) < 20_000


def check_no_randomness(case: Case) -> None:
    """Neither direction draws from the global generator, unless it dequantises."""
    transform = case.ready()
    before = torch.get_rng_state()
    x, context = case.inputs()
    y, _ = transform(x, context)
    transform.inverse(y, context)
    assert torch.equal(torch.get_rng_state(), before)


def check_inverse_wrapper(case: Case) -> None:
    """`t.inv` exchanges the directions and `t.inv.inv is t`."""
    transform = case.ready()
    x, context = case.inputs()
    with torch.no_grad():
        y, _ = transform(x, context)
        assert (
            transform.inv is transform.transform
            if isinstance(transform, Inverse)
            else transform.inv.inv is transform
        )
        assert torch.equal(transform.inv(y, context)[0], transform.inverse(y, context)[0])
        assert transform.inv.forward_shape(transform.forward_shape(case.event)) == case.event


# --- the tests ------------------------------------------------------------------------------------

_BUILT = {name: case.build() for name, case in TRANSFORMS.items()}
# of models the first: what differs without compiled kernels are maps and couplings
_MODELS_AGAIN = {"nsf/3", "realnvp/3", "glow/image", "flowpp/image"}


def over(applies: Callable[[str, Case], bool] = lambda name, case: True) -> pytest.MarkDecorator:
    """Parametrise over the cases that a property is about."""
    return pytest.mark.parametrize(
        "name",
        [
            pytest.param(name, marks=pytest.mark.kernels if has_kernels(name) else ())
            for name, case in TRANSFORMS.items()
            if applies(name, case)
        ],
    )


def has_kernels(name: str) -> bool:
    """Compiled kernels compute it, or parts of it."""
    transform = _BUILT[name]
    if isinstance(transform, Encoder):
        return name in _MODELS_AGAIN
    maps = [part.map for part in transform.modules() if hasattr(part, "map")]
    return any(map.kernel() is not None for map in maps)


def exact(name: str, case: Case) -> bool:
    """It has log-dets: it does not dequantise."""
    return _BUILT[name].exact


@over()
def test_shapes(name: str) -> None:
    check_shapes(TRANSFORMS[name])


# Positive and its like take events of any shape
@over(
    lambda name, case: (
        not name.startswith(
            (
                "positive",
                "interval",
                "wrap",
                "dequantize",
                "chain/empty",
                "inverse/positive",
                "logit",
            )
        )
    )
)
def test_wrong_shape(name: str) -> None:
    check_wrong_shape(TRANSFORMS[name])


@over()
def test_dtypes(name: str) -> None:
    check_dtypes(TRANSFORMS[name])


@over(lambda name, case: case.data_dtype is None)
def test_no_float64(name: str) -> None:
    check_no_float64(TRANSFORMS[name])


@over(exact)
def test_autocast(name: str) -> None:
    check_autocast(TRANSFORMS[name])


@over(lambda name, case: case.identity)
def test_identity(name: str) -> None:
    check_identity(TRANSFORMS[name])


@over(lambda name, case: case.identity and not name.startswith("standardize"))
def test_zero_parameters_are_the_identity(name: str) -> None:
    check_map_identity(TRANSFORMS[name])


@over()
def test_round_trip(name: str) -> None:
    check_round_trip(TRANSFORMS[name])


@over(exact)
def test_logdets_opposite(name: str) -> None:
    check_logdets_opposite(TRANSFORMS[name])


@over(exact)
def test_logdet_is_slogdet(name: str) -> None:
    check_logdet_is_slogdet(TRANSFORMS[name])


@over(exact)
def test_gradients(name: str) -> None:
    check_gradients(TRANSFORMS[name])


@over(exact)
def test_rows_independent(name: str) -> None:
    check_rows_independent(TRANSFORMS[name])


@over()
def test_nan_stays_alone(name: str) -> None:
    check_nan_stays_alone(TRANSFORMS[name])


# its data side is the latent side of `positive`
@over(lambda name, case: name != "inverse/positive")
def test_far(name: str) -> None:
    check_far(TRANSFORMS[name])


# an LU map of one entry has no entries off its diagonal to train
@over(lambda name, case: name != "lu/1" and any(p.numel() for p in case.build().parameters()))
def test_gradients_reach(name: str) -> None:
    check_gradients_reach(TRANSFORMS[name])


@over(lambda name, case: case.context is not None)
def test_context_matters(name: str) -> None:
    check_context_matters(TRANSFORMS[name])


@over()
def test_context_refused(name: str) -> None:
    check_context_refused(TRANSFORMS[name])


@over()
def test_state_dict(name: str) -> None:
    check_state_dict(TRANSFORMS[name])


@over()
def test_deepcopy(name: str) -> None:
    check_deepcopy(TRANSFORMS[name])


@over()
def test_dtype_moves(name: str) -> None:
    check_dtype_moves(TRANSFORMS[name])


@over()
def test_meta(name: str) -> None:
    check_meta(TRANSFORMS[name])


@over()
def test_printing(name: str) -> None:
    check_printing(TRANSFORMS[name])


@over(exact)
def test_no_randomness(name: str) -> None:
    check_no_randomness(TRANSFORMS[name])


@over(exact)
def test_inverse_wrapper(name: str) -> None:
    check_inverse_wrapper(TRANSFORMS[name])


@pytest.mark.parametrize(
    "name",
    [*BASES, *(n for n, case in TRANSFORMS.items() if n.split("/")[0] in diffeo.models.MODELS)],
)
def test_construction_leaves_the_global_generator_alone(name: str) -> None:
    """Models and bases have a seed of their own."""
    before = torch.get_rng_state()
    (BASES[name] if name in BASES else TRANSFORMS[name]).build()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", list(PARTITIONS))
@pytest.mark.parametrize("size", [1, 2, 5])
def test_partition(name: str, size: int) -> None:
    """merge(split(x)) is x, the shapes are as promised, the transformed part is never empty, no
    randomness.
    """
    before = torch.get_rng_state()
    partition = PARTITIONS[name](size)
    assert torch.equal(torch.get_rng_state(), before)
    x = torch.randn(3, size)
    a, b = partition.split(x)
    assert (a.shape[1:], b.shape[1:]) == partition.shapes((size,))
    assert b.shape[1] >= 1
    assert torch.equal(partition.merge(a, b), x)
    with pytest.raises(ShapeError):
        partition.shapes((size, 2))


@pytest.mark.parametrize("name", list(MAPS))
def test_map_is_a_value(name: str) -> None:
    """Maps are hashable, comparable, printable, and change nothing of themselves."""
    map = MAPS[name]
    twin = copy.deepcopy(map)
    assert map == twin
    assert hash(map) == hash(twin)
    assert type(map).__name__ in repr(map)
    with pytest.raises(AttributeError):
        map.bins = 3  # type: ignore[attr-defined]


# --- properties of bases: tests/test_bases.py has the tests ---------------------------------------


def grid(reach: float = 9.0, n: int = 901) -> tuple[Tensor, Tensor]:
    """Points (n², 2) and weights for integrals over the plane, dense at the origin and reaching out
    to sinh(reach).
    """
    t = torch.linspace(-reach, reach, n, dtype=torch.float64) + 1e-4  # off the edges of boxes
    x, weight = t.sinh(), t.cosh() * (t[1] - t[0])
    return torch.cartesian_prod(x, x), torch.outer(weight, weight).flatten()


def check_density_integrates(case: BaseCase) -> None:
    """∫ p = 1, at temperature 1 and ½."""
    x, weight = grid()
    base = case.ready()
    for temperature in (1.0, 0.5):
        assert abs((base.density(x, temperature).exp() * weight).sum() - 1) < 0.02


def check_draws_follow_density(case: BaseCase) -> None:
    """Means of bounded functions over draws are their integrals under the density, within 4.5
    standard errors.
    """
    x, weight = grid()
    base, n = case.ready(), 40_000
    for temperature in (1.0, 0.5):
        mass = base.density(x, temperature).exp() * weight
        drawn = base.sample(
            (n,), temperature=temperature, generator=torch.Generator().manual_seed(3)
        )
        for f in (_first, _second, _spread, _product):
            truth, values = (f(x) * mass).sum() / mass.sum(), f(drawn)
            assert abs(values.mean() - truth) <= 4.5 * values.std() / math.sqrt(n) + 0.01 * abs(
                truth
            )


def _first(x: Tensor) -> Tensor:
    return torch.tanh(x[:, 0])


def _second(x: Tensor) -> Tensor:
    return torch.tanh(x[:, 1])


def _spread(x: Tensor) -> Tensor:
    return torch.tanh(x.square().sum(1) / 4)


def _product(x: Tensor) -> Tensor:
    return torch.tanh(x[:, 0] * x[:, 1])
