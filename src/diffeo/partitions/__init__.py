"""How an event is cut into a conditioning and a transformed part."""

from .base import Partition
from .halves import Halves
from .indices import Indices, alternating, random

__all__ = ["Halves", "Indices", "Partition", "alternating", "random"]
