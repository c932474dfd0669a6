"""What wraps a transform sets it up from data as the transform alone is set up, or refuses to."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

import diffeo
from cases import TRANSFORMS, Case
from diffeo import Chain, Inverse, Transform
from diffeo.core.errors import ConfigError
from diffeo.layers import ActNorm, Columns, FactorOut, Recompute, Standardize

# how each wraps a transform of a case, and what rows of that case become
Wrap = Callable[[Case, Transform, Tensor], tuple[Transform, Tensor] | None]


def columns(case: Case, transform: Transform, x: Tensor) -> tuple[Transform, Tensor] | None:
    if len(case.event) != 1 or transform.forward_shape(case.event) != case.event:
        return None
    size = case.event[0]
    return Columns(range(1, size + 1), transform), torch.cat([x[:, :1], x], 1)


def factor_out(case: Case, transform: Transform, x: Tensor) -> tuple[Transform, Tensor] | None:
    if len(case.event) < 2:
        return None
    channels, *rest = case.event
    return FactorOut((2 * channels, *rest), transform), torch.cat([x, 2 * x], 1)


WRAPPERS: dict[type, Wrap] = {
    Chain: lambda case, transform, x: (Chain([transform]), x),
    Recompute: lambda case, transform, x: (Recompute([transform]), x),
    Columns: columns,
    FactorOut: factor_out,
}


def set_up(transform: Transform, x: Tensor, context: Tensor | None) -> None:
    torch.default_generator.manual_seed(3)  # dequantisation draws
    with torch.no_grad():
        transform.initialize(x, context)


def same_state(a: Transform, b: Transform) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return all(torch.equal(left[name], right[name]) for name in left)


def inputs(case: Case, transform: Transform) -> tuple[Tensor, Tensor | None]:
    x, context = case.inputs(32)
    return x if transform.any_dtype else x.float(), None if context is None else context.float()


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda wrapper: wrapper.__name__)
@pytest.mark.parametrize("case", TRANSFORMS.values(), ids=TRANSFORMS)
def test_a_wrapped_transform_is_set_up_as_the_bare_one(case: Case, wrapper: type) -> None:
    bare = case.build()
    inner = copy.deepcopy(bare)
    x, context = inputs(case, bare)
    wrapped = WRAPPERS[wrapper](case, inner, x)
    if wrapped is None:
        pytest.skip("not an event that this wraps")
    set_up(bare, x, context)
    set_up(Chain([wrapped[0]]), wrapped[1], context)
    assert same_state(inner, bare)


@pytest.mark.parametrize("case", TRANSFORMS.values(), ids=TRANSFORMS)
def test_an_inverse_refuses_what_is_set_up_from_data(case: Case) -> None:
    bare = case.build()
    before = copy.deepcopy(bare)
    x, context = inputs(case, bare)
    set_up(bare, x, context)
    if isinstance(before, Inverse):  # of an inverse comes the transform itself
        return
    if same_state(before, bare):
        before.inv.initialize(bare(x, context)[0], context)
        assert same_state(before, bare)
    else:
        with pytest.raises(ConfigError, match="is set up from the data that goes into it"):
            before.inv.initialize(bare(x, context)[0], context)


def test_an_inverse_in_a_chain() -> None:
    x = 5 + 3 * torch.randn(50, 4)
    with pytest.raises(ConfigError, match="ActNorm"):
        Chain([ActNorm(4).inv]).initialize(x)
    with pytest.raises(ConfigError, match="Standardize"):
        Chain([Chain([Columns([1], Standardize(1))]).inv]).initialize(x)
    ready = ActNorm(4)
    ready.initialize(x)
    shift = ready.shift.clone()
    Chain([ready.inv]).initialize(torch.randn(50, 4))
    assert torch.equal(ready.shift, shift)


def takes_transforms() -> Iterator[type]:
    for name in ("Chain", "Inverse"):
        yield getattr(diffeo, name)
    for name in diffeo.layers.__all__:
        thing = getattr(diffeo.layers, name)
        signature = inspect.signature(thing)
        if any("Transform" in str(p.annotation) for p in signature.parameters.values()):
            yield thing


def test_every_wrapper_is_tested() -> None:
    assert set(takes_transforms()) == {*WRAPPERS, Inverse}
