"""Nine couplings that are broken on purpose: the contract must catch each. A suite of round trips
alone must not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import test_contract as contract
from cases import TRANSFORMS, Case
from diffeo import Transform
from diffeo.conditioners import MLP
from diffeo.layers import Coupling
from diffeo.maps import Affine

Pair = tuple[Tensor, Tensor]
SOUND = TRANSFORMS["affine/halves/mlp/5/context"]

PROPERTIES = (
    contract.check_shapes,
    contract.check_round_trip,
    contract.check_logdets_opposite,
    contract.check_logdet_is_slogdet,
    contract.check_gradients,
    contract.check_rows_independent,
    contract.check_context_matters,
)


class Broken(Transform):
    """A sound coupling whose two directions pass through a fault."""

    def __init__(
        self, fault: Callable[[Coupling, Tensor, Tensor | None, bool], Pair], coupling: Coupling
    ) -> None:
        super().__init__()
        self.fault, self.coupling, self.context_shape = fault, coupling, coupling.context_shape

    def forward(self, x: Tensor, context: Tensor | None = None) -> Pair:
        return self.fault(self.coupling, x, context, False)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Pair:
        return self.fault(self.coupling, y, context, True)


def _sound(layer: Coupling, x: Tensor, context: Tensor | None, inverse: bool) -> Pair:
    return layer.inverse(x, context) if inverse else layer(x, context)


def logdet_doubled(layer: Coupling, x: Tensor, context: Tensor | None, inverse: bool) -> Pair:
    y, logdet = _sound(layer, x, context, inverse)
    return y, 2 * logdet


def sign_flipped(layer: Coupling, x: Tensor, context: Tensor | None, inverse: bool) -> Pair:
    y, logdet = _sound(layer, x, context, inverse)
    return y, -logdet


def mean_for_sum(layer: Coupling, x: Tensor, context: Tensor | None, inverse: bool) -> Pair:
    y, logdet = _sound(layer, x, context, inverse)
    return y, logdet / layer.partition.split(x)[1].shape[1]


def forgotten(layer: Coupling, x: Tensor, context: Tensor | None, inverse: bool) -> Pair:
    y, logdet = _sound(layer, x, context, inverse)
    return y, torch.zeros_like(logdet)


def mask_ignored(layer: Coupling, x: Tensor, context: Tensor | None, inverse: bool) -> Pair:
    """The transformed part leaks into the conditioner: a small share of it is added to what
    conditions.
    """
    a, b = layer.partition.split(x)
    params = layer.conditioner(a + 0.1 * b[:, : a.shape[1]], context)
    value, logdet = (layer.map.inverse if inverse else layer.map.forward)(b, params)
    return layer.partition.merge(a, value), logdet.sum(1)


def context_ignored(layer: Coupling, x: Tensor, context: Tensor | None, inverse: bool) -> Pair:
    return _sound(layer, x, None if context is None else torch.zeros_like(context), inverse)


def averaged_over_the_batch(
    layer: Coupling, x: Tensor, context: Tensor | None, inverse: bool
) -> Pair:
    y, logdet = _sound(layer, x, context, inverse)
    return y, logdet.mean().expand(len(x))


def inverse_is_forward(layer: Coupling, x: Tensor, context: Tensor | None, inverse: bool) -> Pair:
    return _sound(layer, x, context, False)


def not_negated(layer: Coupling, x: Tensor, context: Tensor | None, inverse: bool) -> Pair:
    y, logdet = _sound(layer, x, context, inverse)
    return y, -logdet if inverse else logdet


FAULTS = (
    logdet_doubled,
    sign_flipped,
    mean_for_sum,
    forgotten,
    mask_ignored,
    context_ignored,
    averaged_over_the_batch,
    inverse_is_forward,
    not_negated,
)


def broken(fault: Callable[..., Pair]) -> Case:
    """The sound case with the fault planted."""

    def build() -> Transform:
        torch.default_generator.manual_seed(5)
        return Broken(
            fault, Coupling((5,), Affine(), MLP((8,), activation="silu"), context_shape=(2,))
        )

    return replace(SOUND, build=build)


def caught_by(case: Case) -> set[str]:
    """The properties that fail."""
    return {check.__name__ for check in PROPERTIES if _fails(check, case)}


def _fails(check: Callable[[Case], None], case: Case) -> bool:
    try:
        check(case)
    except AssertionError:
        return True
    return False


def test_the_sound_coupling_passes() -> None:
    """What the faults are planted in is right, also inside the wrapper."""
    assert caught_by(SOUND) == set()
    assert caught_by(broken(_sound)) == set()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_contract_catches(fault: Callable[..., Pair]) -> None:
    assert caught_by(broken(fault))


EXPECTED = {
    "logdet_doubled": "check_logdet_is_slogdet",
    "sign_flipped": "check_logdet_is_slogdet",
    "mean_for_sum": "check_logdet_is_slogdet",
    "forgotten": "check_logdet_is_slogdet",
    "mask_ignored": "check_round_trip",
    "context_ignored": "check_context_matters",
    "averaged_over_the_batch": "check_rows_independent",
    "inverse_is_forward": "check_round_trip",
    "not_negated": "check_logdets_opposite",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_property_meant_for_it_catches(fault: Callable[..., Pair]) -> None:
    """Not by accident: the property that is about this fault is the one, or one of those, that see
    it.
    """
    assert EXPECTED[fault.__name__] in caught_by(broken(fault))


def test_round_trips_alone_catch_few() -> None:
    """Why log-dets need tests of their own: six and more of nine faults pass a suite of round
    trips.
    """
    seen = {fault.__name__ for fault in FAULTS if _fails(contract.check_round_trip, broken(fault))}
    assert seen == {"mask_ignored", "inverse_is_forward"}
