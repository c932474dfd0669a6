"""How an event is cut into a conditioning part and a transformed part."""

from .base import Partition
from .channels import Channels
from .checkerboard import Checkerboard
from .halves import Halves
from .indices import Indices, alternating, random
from .tokens import Tokens

__all__ = [
    "Channels",
    "Checkerboard",
    "Halves",
    "Indices",
    "Partition",
    "Tokens",
    "alternating",
    "random",
]
