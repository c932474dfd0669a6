"""Published models as functions; `SPECS` is the registry that saved folders are looked up in,
`MODELS` its functions.
"""

from .images import flowpp, glow, jet
from .lattice import lattice
from .limits import Held
from .registry import MODELS, SPECS, default_model, models_for, nice, nsf, realnvp
from .spec import ModelSpec, domain_of, takes_classes

__all__ = [
    "MODELS",
    "SPECS",
    "Held",
    "ModelSpec",
    "default_model",
    "domain_of",
    "flowpp",
    "glow",
    "jet",
    "lattice",
    "models_for",
    "nice",
    "nsf",
    "realnvp",
    "takes_classes",
]
