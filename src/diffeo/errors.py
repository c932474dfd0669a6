"""One tree of errors: every exception that diffeo raises on purpose is a `DiffeoError`."""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ConfigError",
    "ContextError",
    "DataError",
    "DiffeoError",
    "ExactnessError",
    "InferenceError",
    "ShapeError",
    "StoreError",
    "TrainingError",
]


class DiffeoError(Exception):
    """Base class. Its text is one line that says what is wrong, where, and how to mend it."""


class ShapeError(DiffeoError, ValueError):
    """A tensor or a link of a chain has the wrong event shape."""


class ContextError(DiffeoError, ValueError):
    """A context is missing, unexpected, or has the wrong shape."""


class ExactnessError(DiffeoError, RuntimeError):
    """An exact density was asked of a chain that only bounds it (it dequantises)."""


class DataError(DiffeoError, ValueError):
    """A file or table cannot be used as it is; the text names file, row or column."""


class ConfigError(DiffeoError, ValueError):
    """An option or configuration value is not valid."""


class StoreError(DiffeoError, ValueError):
    """A model folder is missing, damaged, hostile or of a newer format."""


class CheckpointError(DiffeoError, RuntimeError):
    """A run folder cannot be resumed: locked, damaged, or made from other data or settings."""


class TrainingError(DiffeoError, RuntimeError):
    """Training stopped: the loss or its gradient stayed non-finite."""


class InferenceError(DiffeoError, RuntimeError):
    """A log density cannot be used: it raised, has the wrong shape, carries no gradient, or is +inf
    somewhere.
    """
