"""`diffeo info`: this installation, or a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import __version__
from ..core.text import printable
from .models import open_flow
from .options import Json
from .output import emit
from .verbs import verbs_of

__all__ = ["info"]


MOST = 40  # values of a list or a table of them that are written out
HIDDEN = ("supports", "event_shape", "context_shape")  # said in other words


def info(
    model: Annotated[
        Path | None, typer.Argument(help="A model folder.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Version, kernels in use, threads; with MODEL its columns or images, size and training
    summary.

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
    flow = open_flow(folder)
    card = flow.card
    training = {} if card.training is None else card.training.plain()
    return {
        "version": __version__,
        "model": card.model or "by hand",
        "arguments": {k: v for k, v in card.args.items() if k not in HIDDEN and v is not None},
        "parameters": sum(p.numel() for p in flow.parameters()),
        **verbs_of(flow).describe(flow, folder),
        "exact": flow.exact,
        "source": card.source,
        "training": {k: v for k, v in training.items() if k != "settings"},
    }


def _words(value: Any) -> str:
    """At most 40 values, each on one line and of moderate length, without what a terminal would act
    on.
    """
    if isinstance(value, dict):
        return _listed(
            [f"{printable(k, 100)}={_words(v)}" for k, v in list(value.items())[:MOST]], len(value)
        )
    if isinstance(value, (list, tuple)):
        return f"[{_listed([_words(v) for v in value[:MOST]], len(value))}]" if value else "[]"
    return f"{value:.6g}" if isinstance(value, float) else printable(value, 200)


def _listed(words: list[str], count: int) -> str:
    return ", ".join(words) + (f" and {count - MOST} more" if count > MOST else "") or "none"
