"""Kinds of data, and whose data a flow or a file is: no other room asks "table or image?"."""

from __future__ import annotations

from typing import Any

from ..flow import Flow
from ..models import SPECS, domain_of
from .base import Advice, Domain, TrainingData
from .field import FieldDomain
from .image import ImageDomain
from .recommend import ImageRecommendation, Recommendation, recommend
from .table import TableDomain

__all__ = [
    "DOMAINS",
    "TABLE",
    "Advice",
    "Domain",
    "FieldDomain",
    "ImageDomain",
    "ImageRecommendation",
    "Recommendation",
    "TableDomain",
    "TrainingData",
    "of_flow",
    "of_source",
    "recommend",
]

TABLE = TableDomain()
DOMAINS: dict[str, Domain] = {
    domain.name: domain for domain in (TABLE, ImageDomain(), FieldDomain())
}


def of_flow(flow: Flow) -> Domain:
    """The kind of data a flow is of: its model says it, or, of a flow built by hand, the shape of
    its events.

    >>> import diffeo
    >>> of_flow(diffeo.models.nsf((3,))).name, of_flow(diffeo.models.lattice((1, 4, 4))).name
    ('table', 'field')
    """
    spec = SPECS.get(flow.card.model or "")
    of_shape = domain_of if spec is None else spec.domain
    return DOMAINS[of_shape(flow.event_shape)]


def of_source(source: Any) -> Domain:
    """The kind of data in a file, a folder or an array: what claims it, else a table.

    >>> of_source("people.csv").name, of_source("sklearn:digits").name
    ('table', 'image')
    """
    return next((domain for domain in DOMAINS.values() if domain.looks_like(source)), TABLE)
