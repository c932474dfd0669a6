"""All models by name: nothing outside this room knows one by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from ..flow import Flow
from . import images
from .either import either
from .lattice import lattice
from .limits import Limits
from .nice import nice as _nice
from .nsf import nsf as _nsf
from .realnvp import realnvp as _realnvp
from .spec import ModelSpec

__all__ = ["MODELS", "SPECS", "default_model", "models_for", "nice", "nsf", "realnvp"]

nice = either(_nice, images.nice)
realnvp = either(_realnvp, images.realnvp)
nsf = either(_nsf, images.nsf)


def _columns(event: list[int], args: Mapping[str, Any]) -> int:
    """Models of vectors keep lists of columns; weights of convolutions know nothing of the size of
    their images.
    """
    return event[0] if len(event) == 1 else 0


def _entries(event: list[int], args: Mapping[str, Any]) -> int:
    return prod(event)


def _patches(event: list[int], args: Mapping[str, Any]) -> int:
    """Jet keeps lists of the patches and of half the values of each; a patch that is not given has
    1 to 4 pixels a side.
    """
    least, most = (args["patch"], args["patch"]) if args.get("patch") else (1, 4)
    channels, *sides = event
    return max(prod(sides) // most**2, channels * least**2 // 2)


SPECS = {
    spec.name: spec
    for spec in (
        ModelSpec(
            "nice",
            nice,
            {"table": _nice, "image": images.nice},
            Limits((("layers", "hidden", "depth"),), keeps_list=_entries),
            # additive couplings and one scale alone, as in the paper: no LU maps between
            recommended={"table": {"mixing": "none"}},
        ),
        ModelSpec(
            "realnvp",
            realnvp,
            {"table": _realnvp, "image": images.realnvp},
            Limits((("layers", "hidden", "scales", "blocks"),), keeps_list=_columns),
            recommended={"posterior": {}},
        ),
        ModelSpec(
            "glow",
            images.glow,
            {"image": images.glow},
            Limits((("scales", "steps"),), each=10),
            default_for=("image",),
        ),
        ModelSpec(
            "nsf",
            nsf,
            {"table": _nsf, "image": images.nsf},
            Limits((("layers", "hidden", "scales", "steps", "blocks"),), keeps_list=_columns),
            # splines alone are the identity beyond their box, where a narrow start puts most of a
            # banana
            recommended={"posterior": {"affine": True}},
            default_for=("table", "posterior"),
        ),
        ModelSpec(
            "flowpp",
            images.flowpp,
            {"image": images.flowpp},
            Limits((("steps", "blocks"), ("noise", "blocks")), each=6),
        ),
        ModelSpec(
            "jet",
            images.jet,
            {"image": images.jet},
            Limits((("layers", "depth"),), each=12, keeps_list=_patches),
        ),
        ModelSpec(
            "lattice",
            lattice,
            {"field": lattice},
            Limits((("layers", "hidden"),), each=1),
            default_for=("field",),
        ),
    )
}
MODELS: dict[str, Callable[..., Flow]] = {name: spec.build for name, spec in SPECS.items()}


def models_for(use: str) -> list[str]:
    """The names of the models that serve a domain, or "posterior"; the default comes first."""
    serving = [spec for spec in SPECS.values() if use in spec.uses]
    return [spec.name for spec in sorted(serving, key=lambda spec: use not in spec.default_for)]


def default_model(use: str) -> str:
    """The name of the first choice for a domain, or for "posterior"."""
    return models_for(use)[0]
