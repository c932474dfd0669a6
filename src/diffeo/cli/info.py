"""`diffeo info`: this installation, or a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import __version__
from .common import Json, emit, open_model

__all__ = ["info"]


def info(
    model: Annotated[Path | None, typer.Argument(help="A model folder.", show_default=False)] = None, json: Json = False
) -> None:
    """Version, kernels in use, threads; with MODEL its columns, size and training summary.

    Example:  diffeo info model
    """
    result = _installation() if model is None else _model(model)
    emit(result, json, [f"{key:<12} {_words(value)}" for key, value in result.items()])


def _installation() -> dict[str, Any]:
    import platform

    import torch

    from ..kernels import which

    return {
        "version": __version__,
        "kernels": which(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cuda": torch.cuda.is_available(),
    }


def _model(folder: Path) -> dict[str, Any]:
    flow, schema = open_model(folder)
    recipe = flow.recipe or {"model": "by hand", "args": {}}
    training = flow.metadata.get("training", {})
    return {
        "version": __version__,
        "model": recipe["model"],
        "arguments": {k: v for k, v in recipe["args"].items() if k not in ("supports", "event_shape", "context_shape")},
        "parameters": sum(p.numel() for p in flow.parameters()),
        "columns": {c.name: c.support for c in schema.columns},
        "context": {c.name: c.support for c in schema.context},
        "set_aside": schema.set_aside,
        "exact": flow.exact,
        "source": flow.metadata.get("source"),
        "training": {k: v for k, v in training.items() if k != "settings"},
    }


def _words(value: Any) -> str:
    if isinstance(value, dict):
        pairs = [f"{k}={_words(v)}" for k, v in list(value.items())[:40]]
        return ", ".join(pairs) + (f" and {len(value) - 40} more" if len(value) > 40 else "") or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
