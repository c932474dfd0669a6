"""From files to float64 arrays, with every row accounted for."""

from __future__ import annotations

from .infer import infer_support
from .ledger import Intake
from .schema import Column, Schema
from .tables import Table, iter_tables, read_table
from .write import write_table

__all__ = ["Column", "Intake", "Schema", "Table", "infer_support", "iter_tables", "read_table", "write_table"]
