"""The models of images, event_shape=(C, H, W); `diffeo.models` picks them by the shape of the
event.
"""

from .flowpp import flowpp
from .glow import glow
from .jet import jet
from .nice import nice
from .nsf import nsf
from .realnvp import realnvp

__all__ = ["flowpp", "glow", "jet", "nice", "nsf", "realnvp"]
