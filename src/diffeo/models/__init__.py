"""Published models as functions; `MODELS` is the registry that saved folders are looked up in."""

from collections.abc import Callable

from ..flow import Flow
from .nice import nice
from .nsf import nsf
from .realnvp import realnvp

__all__ = ["MODELS", "nice", "nsf", "realnvp"]

MODELS: dict[str, Callable[..., Flow]] = {"nice": nice, "realnvp": realnvp, "nsf": nsf}
