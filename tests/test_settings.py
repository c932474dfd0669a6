"""Every setting of every model, layer, map, network, partition and base is checked, and the error
names what is allowed.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch

import diffeo
from diffeo import bases, conditioners, layers, maps, partitions
from diffeo.conditioners.base import ACTIVATIONS
from diffeo.core.errors import ConfigError, ShapeError
from diffeo.core.settings import one_of
from diffeo.models import images
from diffeo.models import lattice as lattice_model
from diffeo.models.nice import nice as nice_model
from diffeo.models.nsf import nsf as nsf_model
from diffeo.models.realnvp import realnvp as realnvp_model

MODELS: dict[str, tuple[Callable[..., diffeo.Flow], tuple[int, ...]]] = {
    "nice": (nice_model, (2,)),
    "realnvp": (realnvp_model, (2,)),
    "nsf": (nsf_model, (2,)),
    "lattice": (lattice_model, (1, 4, 4)),
    **{f"{name} of images": (getattr(images, name), (1, 4, 4)) for name in images.__all__},
}
NOT_WORDS = ("LU", "Normal", "", 3, True)
NOT_COUNTS = (True, 2.0, "3", math.nan)
NOT_NUMBERS = (True, "3", math.nan, math.inf)
NOT_FLAGS = (0, 1, "yes")


def model_settings() -> Iterator[Any]:
    """A wrong value for every setting of every model, going by its annotation."""
    for model, (build, event) in MODELS.items():
        for name, hint in get_type_hints(build).items():
            if name in ("return", "event_shape", "context_shape"):
                continue
            for value in _wrong(name, hint):
                yield pytest.param(build, event, {name: value}, id=f"{model}: {name}={value!r}")


def _wrong(name: str, hint: Any) -> tuple[Any, ...]:
    parts = get_args(hint)
    if get_origin(hint) is Literal or name == "activation":
        words = parts or tuple(ACTIVATIONS)
        return (*NOT_WORDS, words[0].upper(), words[-1].title())
    return {
        bool: NOT_FLAGS,
        int: NOT_COUNTS,
        int | None: NOT_COUNTS,
        float: NOT_NUMBERS,
        float | None: NOT_NUMBERS,
    }.get(hint, ("64", 3, (2.0,), (True,)))


@pytest.mark.parametrize(("build", "event", "settings"), list(model_settings()))
def test_wrong_types_and_words(
    build: Callable[..., diffeo.Flow], event: tuple[int, ...], settings: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        build(event, **settings)


RANGES = {
    "layers": (0, -1),
    "hidden": ((), (0,), (8, -1)),
    "bins": (1, 0),
    "dropout": (-1.0, 1.0, 2.0),
    "bound": (0.0, -5.0),
    "log_scale": (0.0, -1.0),
    "alpha": (0.0, 0.5, -1.0),
    "classes": (0, -3),
    "bits": (0, 9),
    "kernel": (2, 0, -3),
    "width": (0, -1),
    "blocks": (0, -1),
    "depth": (0,),
    "steps": (0,),
    "scales": (0,),
    "components": (0,),
    "noise": (0,),
    "patch": (0,),
    "heads": (-1,),
    "regress": (-0.1, 1.5),
}


def ranges() -> Iterator[Any]:
    for model, (build, event) in MODELS.items():
        for name in sorted(get_type_hints(build).keys() & RANGES.keys()):
            for value in RANGES[name]:
                yield pytest.param(build, event, {name: value}, id=f"{model}: {name}={value!r}")


@pytest.mark.parametrize(("build", "event", "settings"), list(ranges()))
def test_out_of_range(
    build: Callable[..., diffeo.Flow], event: tuple[int, ...], settings: dict[str, Any]
) -> None:
    with pytest.raises((ConfigError, ShapeError)):
        build(event, **settings)


def test_every_setting_of_a_model_with_a_range_is_in_the_table() -> None:
    counted = {
        name
        for build, _ in MODELS.values()
        for name, hint in get_type_hints(build).items()
        if hint in (int, float, int | None, float | None)
    }
    assert counted - {"seed"} <= RANGES.keys()


PARTS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "MLP": (conditioners.MLP, {"hidden": (0,), "activation": "RELU", "dropout": math.nan}),
    "ResidualMLP": (
        conditioners.ResidualMLP,
        {"width": 0, "blocks": -1, "activation": "Tanh", "dropout": 1.0},
    ),
    "ConvNet": (conditioners.ConvNet, {"width": 2.0, "activation": "swish"}),
    "ConvResNet": (
        conditioners.ConvResNet,
        {"width": True, "blocks": 1.0, "activation": "swish", "dropout": -0.1},
    ),
    "GatedConv": (conditioners.GatedConv, {"width": 0, "blocks": 0, "heads": -1, "dropout": 2}),
    "Transformer": (conditioners.Transformer, {"width": 0, "depth": 1.5, "heads": 0}),
    "TorusNet": (
        lambda **s: conditioners.TorusNet(partitions.Checkerboard((1, 4, 4)), **s),
        {"hidden": (0,), "kernel": 2, "activation": "swish", "odd": (-1,)},
    ),
    "Periodic": (
        lambda **s: conditioners.Periodic(
            conditioners.MLP((4,)), **{"circular": [0], "low": 0.0, "high": 1.0, **s}
        ),
        {"circular": [-1], "low": 1.0, "high": math.inf},
    ),
    "OneHot": (lambda **s: conditioners.OneHot(**s), {"classes": True}),
    "Affine": (maps.Affine, {"log_scale": True}),
    "RQSpline": (
        maps.RQSpline,
        {
            "bins": 1,
            "low": 5.0,
            "high": math.nan,
            "ends": "Linear",
            "min_bin": 1.0,
            "log_slope": 0.0,
        },
    ),
    "CircularSpline": (
        maps.CircularSpline,
        {"bins": 4.0, "low": 7.0, "high": -7.0, "min_bin": 0, "log_slope": math.inf},
    ),
    "LinearSpline": (maps.LinearSpline, {"bins": True, "low": 6, "high": "1", "log_slope": -1}),
    "QuadraticSpline": (
        maps.QuadraticSpline,
        {"bins": 2, "low": 6, "high": -6, "min_bin": math.nan, "log_slope": -1},
    ),
    "CubicSpline": (
        maps.CubicSpline,
        {"bins": 1, "low": 6, "high": -6, "min_bin": 1, "log_slope": -1},
    ),
    "LogisticMixture": (
        maps.LogisticMixture,
        {"components": 0, "log_scale": 0, "log_width": True, "floor": 1},
    ),
    "Conv1x1": (lambda **s: layers.Conv1x1((2, 2, 2), **s), {"kind": "PLU"}),
    "Dequantize": (layers.Dequantize, {"bits": 8.0}),
    "Squeeze": (layers.Squeeze, {"factor": 1.5}),
    "Pad": (lambda **s: layers.Pad((1, 3, 3), **s), {"multiple": 0}),
    "Patchify": (lambda **s: layers.Patchify((1, 4, 4), **s), {"patch": True}),
    "Logit": (layers.Logit, {"alpha": math.nan}),
    "Interval": (
        lambda **s: layers.Interval(**{"low": 0.0, "high": 1.0, **s}),
        {"low": 1.0, "high": True},
    ),
    "Wrap": (
        lambda **s: layers.Wrap(**{"low": 0.0, "high": 1.0, **s}),
        {"low": 1.0, "high": -1.0, "bound": 0.0},
    ),
    "Standardize": (
        lambda **s: layers.Standardize((2,), **s),
        {"skip": (-1,), "data_dtype": "Float64"},
    ),
    "Recompute": (lambda **s: layers.Recompute([], **s), {"tolerance": math.inf}),
    "LULinear": (layers.LULinear, {"size": 0}),
    "Uniform": (lambda **s: bases.Uniform(1, **s), {"low": 2.0, "high": math.nan}),
    "StudentT": (lambda **s: bases.StudentT(1, **s), {"df": True}),
    "GaussianMixture": (lambda **s: bases.GaussianMixture(1, **s), {"components": 2.0}),
    "Tokens": (
        lambda **s: partitions.Tokens(**{"grid": (2, 2), "by": "rows", **s}),
        {"grid": (0, 2), "by": "Rows", "flip": 1},
    ),
    "Channels": (partitions.Channels, {"flip": 1}),
    "Halves": (partitions.Halves, {"flip": "no"}),
    "Checkerboard": (lambda **s: partitions.Checkerboard((1, 2, 2), **s), {"flip": None}),
}


@pytest.mark.parametrize(
    ("build", "settings"),
    [
        pytest.param(build, {name: value}, id=f"{part}: {name}={value!r}")
        for part, (build, wrong) in PARTS.items()
        for name, value in wrong.items()
    ],
)
def test_parts(build: Callable[..., Any], settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        build(**settings)


@pytest.mark.parametrize(
    "part", [name for name, (build, _) in PARTS.items() if inspect.isclass(build)]
)
def test_every_setting_of_a_part_is_in_the_table(part: str) -> None:
    build, wrong = PARTS[part]
    required = {"size"} if part == "LULinear" else set()
    assert set(inspect.signature(build).parameters) - {"_shape"} == set(wrong) | required


def test_a_word_in_another_case_is_refused_with_the_right_one() -> None:
    with pytest.raises(ConfigError, match=r"unknown mixing 'LU': write 'lu'"):
        diffeo.models.nsf((2,), mixing="LU")
    with pytest.raises(ConfigError, match=r"unknown mixing 'ul': use one of none, lu, permute"):
        diffeo.models.nsf((2,), mixing="ul")
    assert one_of("mixing", "lu", ["none", "lu"]) == "lu"


@pytest.mark.parametrize("shape", [(2.5,), "2", (True,), True, ("2",), (-1,), 2.0, None])
def test_shapes_are_whole_numbers(shape: Any) -> None:
    for build in (diffeo.models.nsf, bases.Normal, layers.ActNorm):
        with pytest.raises(ShapeError):
            build(shape)


def test_numbers_of_numpy_serve_and_are_saved_as_plain_ones(tmp_path: Any) -> None:
    settings = {
        "layers": np.int64(2),
        "hidden": (np.int32(8),),
        "bound": np.float32(4),
        "bins": np.int8(4),
        "seed": np.uint8(1),
    }
    flow = diffeo.models.nsf(np.int64(2), **settings).eval()
    diffeo.save(flow, tmp_path / "model")
    x = torch.randn(3, 2)
    assert torch.equal(diffeo.load(tmp_path / "model").log_prob(x), flow.log_prob(x))
