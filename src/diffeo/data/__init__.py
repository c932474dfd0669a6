"""From files to float64 arrays, with every row accounted for, and to uint8 images."""

from __future__ import annotations

from .images.images import Images, read_images, write_images
from .tables.kinds import infer_support
from .tables.ledger import Intake
from .tables.schema import Column, Schema
from .tables.table import Table, iter_tables, read_table
from .tables.write import write_table

__all__ = [
    "Column",
    "Images",
    "Intake",
    "Schema",
    "Table",
    "infer_support",
    "iter_tables",
    "read_images",
    "read_table",
    "write_images",
    "write_table",
]
