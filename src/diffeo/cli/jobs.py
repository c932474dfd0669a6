"""What a run on a table and one on images share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..core.errors import ConfigError, DiffeoError
from ..core.memory import out_of_memory

if TYPE_CHECKING:
    from ..domains import Domain
    from ..flow import Flow
    from .config import RunConfig

__all__ = ["build_model", "run_line"]


def build_model(
    domain: Domain, data: Any, config: RunConfig, *, advised: Mapping[str, Any] | None = None
) -> Flow:
    """The model of these data, not yet trained; what the user set goes before what is advised."""
    from ..models import SPECS

    name = config.model or domain.default_model
    args = {**(advised or {}), **config.model_args}
    given = domain.arguments(data, conditional=bool(config.context))
    with _built(name, config.model_args):
        return SPECS[name].build(**given, **args, seed=config.seed)


@contextlib.contextmanager
def _built(model: str, args: dict[str, Any]) -> Iterator[None]:
    """Arguments that a model function cannot take are the user's, from `--set`: one line."""
    try:
        yield
    except (
        TypeError,
        ValueError,
        RuntimeError,
        AttributeError,
        ArithmeticError,
        LookupError,
    ) as error:
        if isinstance(error, DiffeoError) or out_of_memory(error):
            raise
        raise ConfigError(
            f"--set: {model} cannot be built from {args}: {str(error).splitlines()[0]}"
        ) from None


def run_line(s: dict[str, Any]) -> str:
    """Where the model is and what it cost."""
    return (
        f"model    {s['out']}   ({s['parameters']:,} parameters, {s['steps']:,} steps,"
        f" {s['seconds']:.0f} s, {s['stopped']})"
    )
