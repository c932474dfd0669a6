"""What the models of images share: pixels to reals, padding, scales, classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

from torch import nn

from ...bases import Base, Normal
from ...conditioners import OneHot, StandardizeContext
from ...core.chain import Chain
from ...core.errors import ConfigError, ShapeError
from ...core.shapes import Shape, as_shape
from ...core.transform import Transform
from ...flow import Flow
from ...layers import ActNorm, Dequantize, FactorOut, Logit, Pad, Squeeze

__all__ = ["ImageModel", "Padding", "Size", "dial", "multiscale"]

Size = Literal["tiny", "small", "paper"]
Padding = Literal["auto", "none"]
T = TypeVar("T")
Steps = Callable[[Shape], Iterable[Transform]]


@dataclass(frozen=True)
class ImageModel:
    """The frame around the couplings of an image model: [dequantise, (logit), (pad), body], base.

    `bits=None` is for real-valued images: nothing is dequantised. `multiple` is what height and width must be multiples
    of, 2^scales for a multi-scale model.
    """

    event_shape: int | Sequence[int]
    context_shape: int | Sequence[int] | None
    classes: int | None
    bits: int | None
    pad: Padding
    multiple: int = 1
    alpha: float | None = None  # of the logit; None: the unit interval as it is

    def build(
        self,
        body: Sequence[Transform],
        dequantize: Transform | None = None,
        base: Callable[[Shape], Base] = Normal,
        normalize: bool = True,
    ) -> Flow:
        """Assemble the flow. `dequantize` replaces uniform noise, `base` the normal distribution."""
        chain = Chain([*self.front(dequantize, normalize), *body])
        return Flow(chain, base(chain.forward_shape(self.event)), context_shape=self._outer, embedding=self._embedding())

    @cached_property
    def event(self) -> Shape:
        shape = as_shape(self.event_shape)
        if len(shape) != 3 or min(shape) < 1:
            raise ShapeError(f"this model is for images, event_shape=(C, H, W), not {shape}")
        return shape

    @cached_property
    def context(self) -> Shape | None:
        """What the conditioners read."""
        if self.classes is not None and self.context_shape is not None:
            raise ConfigError("give classes or context_shape, not both: with classes, contexts are class numbers")
        if self.classes is not None:
            return (self.classes,)
        return None if self.context_shape is None else as_shape(self.context_shape)

    @property
    def _outer(self) -> Shape | None:
        return () if self.classes is not None else self.context

    def _embedding(self) -> nn.Module | None:
        if self.classes is not None:
            return OneHot(self.classes)
        return None if self.context is None else StandardizeContext(self.context)

    @cached_property
    def shape(self) -> Shape:
        """The event that the body gets: padded to a multiple."""
        channels, height, width = self.event
        if self.pad not in ("auto", "none"):
            raise ConfigError(f"pad must be 'auto' or 'none', got {self.pad!r}")
        if self.pad == "none" and (height % self.multiple or width % self.multiple):
            raise ShapeError(
                f"height and width of {self.event} are not multiples of {self.multiple}: use pad='auto', or {self._mend()}"
            )
        return (channels, -height % self.multiple + height, -width % self.multiple + width)

    def _mend(self) -> str:
        scales = 0
        while not (self.event[1] % 2 ** (scales + 1) or self.event[2] % 2 ** (scales + 1)):
            scales += 1
        return f"at most scales={scales}" if scales else "crop the images to an even size"

    def front(self, dequantize: Transform | None, normalize: bool) -> Iterator[Transform]:
        """From pixels to reals of mean 0 and variance 1 per channel."""
        if self.bits is not None:
            yield dequantize if dequantize is not None else Dequantize(bits=self.bits)
            if self.alpha is not None:
                yield Logit(self.alpha)
        if normalize:
            yield ActNorm(self.event)
        if self.shape != self.event:
            yield Pad(self.event, self.multiple)


def multiscale(shape: Shape, scales: int, before: Steps, after: Steps, prior: Steps) -> list[Transform]:
    """`before`, squeeze, `after` at every scale, half of the channels factored out between scales.

    `before` and `after` make the links for an event shape; `prior` those that normalise what is factored out.
    """
    if scales < 1:
        raise ConfigError(f"scales must be at least 1, got {scales}")
    squeeze = Squeeze()
    inside = squeeze.forward_shape(shape)
    links = [*before(shape), squeeze, *after(inside)]
    if scales == 1:
        return links
    kept = (inside[0] // 2, *inside[1:])
    deeper = Chain(multiscale(kept, scales - 1, before, after, prior))
    return [*links, *prior(inside), FactorOut(inside, deeper)]


def dial(size: str, sizes: Mapping[str, Mapping[str, Any]], **given: Any) -> dict[str, Any]:
    """The settings of a size, those that are given explicitly replaced; raises `ConfigError` for an unknown size."""
    if size not in sizes:
        raise ConfigError(f"unknown size {size!r}: use one of {', '.join(sizes)}")
    chosen = {**sizes[size], **{name: value for name, value in given.items() if value is not None}}
    for name, value in chosen.items():
        if isinstance(value, int) and value < (0 if name == "heads" else 1):  # no heads: no attention
            raise ConfigError(f"{name} must be at least 1, got {value}")
    return chosen
