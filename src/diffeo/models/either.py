"""One model function for vectors and for images, which mypy and editors read as both."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, ParamSpec, Protocol, cast, overload

from ..flow import Flow
from .spec import domain_of

__all__ = ["Either", "either"]

V = ParamSpec("V")
I = ParamSpec("I")  # noqa: E741 (images)


class Either(Protocol[V, I]):
    """A model function that takes the arguments of either of two."""

    __name__: str

    @overload
    def __call__(self, *args: V.args, **kwargs: V.kwargs) -> Flow: ...
    @overload
    def __call__(self, *args: I.args, **kwargs: I.kwargs) -> Flow: ...


class ByEvent(NamedTuple):
    """A default that depends on the event."""

    vectors: Any
    images: Any


def either(vectors: Callable[V, Flow], images: Callable[I, Flow]) -> Either[V, I]:
    """The function that calls `vectors` for events (D,) and `images` for (C, H, W); other shapes
    raise there. Its signature has the parameters of both.
    """

    def build(
        event_shape: int | Sequence[int],
        context_shape: int | Sequence[int] | None = None,
        **settings: Any,
    ) -> Flow:
        chosen = cast(Callable[..., Flow], images if domain_of(event_shape) == "image" else vectors)
        return chosen(event_shape, context_shape, **settings)

    build.__name__ = build.__qualname__ = vectors.__name__
    build.__module__ = "diffeo.models"
    build.__doc__ = (
        f"For vectors, event_shape=(D,):\n\n{vectors.__doc__}\n\nFor images, event_shape=(C, H,"
        f" W):\n\n{images.__doc__}"
    )
    build.__signature__ = _union(  # type: ignore[attr-defined]
        inspect.signature(vectors), inspect.signature(images)
    )
    return cast(Either[V, I], build)


def _union(vectors: inspect.Signature, images: inspect.Signature) -> inspect.Signature:
    """The parameters of both; where they differ the annotations are joined and defaults are a
    `ByEvent`.
    """
    merged = {**vectors.parameters, **images.parameters}
    for name in vectors.parameters.keys() & images.parameters.keys():
        one, other = vectors.parameters[name], images.parameters[name]
        if one != other:
            types = [*one.annotation.split(" | "), *other.annotation.split(" | ")]
            merged[name] = one.replace(
                annotation=" | ".join(dict.fromkeys(types)),
                default=ByEvent(one.default, other.default),
            )
    return vectors.replace(parameters=sorted(merged.values(), key=lambda p: p.kind))
