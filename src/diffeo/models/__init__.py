"""Published models as functions; `MODELS` is the registry that saved folders are looked up in."""

from collections.abc import Callable

from ..flow import Flow
from . import images
from .images import flowpp, glow, jet
from .lattice import lattice
from .nice import nice as _nice
from .nsf import nsf as _nsf
from .realnvp import realnvp as _realnvp
from .recipe import either

__all__ = ["MODELS", "flowpp", "glow", "jet", "lattice", "nice", "nsf", "realnvp"]

nice = either(_nice, images.nice)
realnvp = either(_realnvp, images.realnvp)
nsf = either(_nsf, images.nsf)

MODELS: dict[str, Callable[..., Flow]] = {
    "nice": nice,
    "realnvp": realnvp,
    "glow": glow,
    "nsf": nsf,
    "flowpp": flowpp,
    "jet": jet,
    "lattice": lattice,
}
