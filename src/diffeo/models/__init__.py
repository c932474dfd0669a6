"""Published models as functions; `SPECS` is the registry that saved folders are looked up in,
`MODELS` its functions.
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from ..flow import Flow
from . import images
from .images import flowpp, glow, jet
from .lattice import lattice
from .nice import nice as _nice
from .nsf import nsf as _nsf
from .realnvp import realnvp as _realnvp
from .recipe import either
from .spec import Held, ModelSpec

__all__ = [
    "MODELS",
    "SPECS",
    "Held",
    "ModelSpec",
    "flowpp",
    "glow",
    "jet",
    "lattice",
    "nice",
    "nsf",
    "realnvp",
]

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
        ModelSpec("nice", nice, (("layers", "hidden", "depth"),), keeps_list=_entries),
        ModelSpec(
            "realnvp", realnvp, (("layers", "hidden", "scales", "blocks"),), keeps_list=_columns
        ),
        ModelSpec("glow", glow, (("scales", "steps"),), each=10),
        ModelSpec(
            "nsf", nsf, (("layers", "hidden", "scales", "steps", "blocks"),), keeps_list=_columns
        ),
        ModelSpec("flowpp", flowpp, (("steps", "blocks"), ("noise", "blocks")), each=6),
        ModelSpec("jet", jet, (("layers", "depth"),), each=12, keeps_list=_patches),
        ModelSpec("lattice", lattice, (("layers", "hidden"),), each=1),
    )
}
MODELS: dict[str, Callable[..., Flow]] = {name: spec.build for name, spec in SPECS.items()}
