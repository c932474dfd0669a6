"""Kinds of values: how each is written, read, checked, transformed and drawn, for the columns of
tables and the parameters of posteriors alike.
"""

from .base import KINDS, Event, Kind, Numbers, Scalar, Support
from .bijections import Bijection, Elementwise, Joint, as_rows
from .cholesky import LowerCholesky
from .circular import Circular
from .correlation import CorrCholesky
from .front import front
from .half_lines import GreaterThan, LessThan
from .integer import Integer
from .interval import Interval
from .ordered import Ordered, ordered
from .parameters import SupportLike, bijection
from .positive import Positive
from .positive_definite import PositiveDefinite
from .real import Real
from .simplex import Simplex
from .to_reals import ToReals

__all__ = [
    "KINDS",
    "Bijection",
    "Circular",
    "CorrCholesky",
    "Elementwise",
    "Event",
    "GreaterThan",
    "Integer",
    "Interval",
    "Joint",
    "Kind",
    "LessThan",
    "LowerCholesky",
    "Numbers",
    "Ordered",
    "Positive",
    "PositiveDefinite",
    "Real",
    "Scalar",
    "Simplex",
    "Support",
    "SupportLike",
    "ToReals",
    "as_rows",
    "bijection",
    "front",
    "ordered",
]

# a new kind is one line here
_KINDS: tuple[type[Kind], ...] = (
    Real,
    Positive,
    Integer,
    GreaterThan,
    LessThan,
    Interval,
    Circular,
    Simplex,
    Ordered,
    CorrCholesky,
    LowerCholesky,
    PositiveDefinite,
)
KINDS.update({kind.word(): kind for kind in _KINDS})
