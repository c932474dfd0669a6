"""What the models of images share: pixels to reals, padding, scales, classes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Literal, get_args

from torch import nn

from ...bases import Base, Normal
from ...conditioners import OneHot, StandardizeContext
from ...core.errors import ConfigError, ShapeError
from ...core.settings import one_of, whole, wholes
from ...core.shapes import Shape, as_shape
from ...core.transform import Transform
from ...flow import Flow
from ...layers import ActNorm, Dequantize, FactorOut, Logit, Pad, Squeeze
from ...layers.memory.recompute import Memory, chained

__all__ = ["ImageModel", "Padding", "Size", "dial", "multiscale"]

Size = Literal["tiny", "small", "paper"]
Padding = Literal["auto", "none"]
Steps = Callable[[Shape], Iterable[Transform]]
# of what sides must be
MULTIPLES: dict[str, Callable[[int], int]] = {"scales": lambda n: 2**n, "patch": lambda n: n}
EVEN = "crop the images to an even size"


@dataclass(frozen=True, kw_only=True)
class ImageModel:
    """The frame around the couplings of an image model: [dequantise, (logit), (pad), body], base.

    `bits=None` is for real-valued images: nothing is dequantised. `multiple` is what height and
    width must be multiples of, 2^scales for a multi-scale model.
    """

    event_shape: int | Sequence[int]
    context_shape: int | Sequence[int] | None
    classes: int | None
    bits: int | None
    pad: Padding
    multiple: int = 1
    alpha: float | None = None  # of the logit; None: the unit interval as it is
    memory: Memory = "store"

    def build(
        self,
        body: Sequence[Transform],
        *,
        dequantize: Transform | None = None,
        base: Callable[[Shape], Base] = Normal,
        normalize: bool = True,
    ) -> Flow:
        """Assemble the flow. `dequantize` replaces uniform noise, `base` the normal
        distribution.
        """
        chain = chained([*self.front(dequantize, normalize), *body], self.memory)
        return Flow(
            chain,
            base(chain.forward_shape(self.event)),
            context_shape=self._outer,
            embedding=self._embedding(),
        )

    @cached_property
    def event(self) -> Shape:
        return _image(self.event_shape)

    @cached_property
    def context(self) -> Shape | None:
        """What the conditioners read."""
        if self.classes is not None and self.context_shape is not None:
            raise ConfigError(
                "give classes or context_shape, not both: with classes, contexts are class numbers"
            )
        if self.classes is not None:
            return (whole("classes", self.classes),)
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
        shape = _padded(self.event, self.multiple)
        one_of("pad", self.pad, get_args(Padding))
        if self.pad == "none" and shape != self.event:
            raise ShapeError(_uneven(self.event, f"{self.multiple}", EVEN))
        return shape

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


def multiscale(
    shape: Shape,
    scales: int,
    before: Steps,
    *,
    after: Steps,
    prior: Steps,
    memory: Memory = "store",
) -> list[Transform]:
    """`before`, squeeze, `after` at every scale, half of the channels factored out between scales.

    `before` and `after` make the links for an event shape; `prior` those that normalise what is
    factored out.
    """
    whole("scales", scales)
    squeeze = Squeeze()
    inside = squeeze.forward_shape(shape)
    links = [*before(shape), squeeze, *after(inside)]
    if scales == 1:
        return links
    kept = (inside[0] // 2, *inside[1:])
    deeper = chained(
        multiscale(kept, scales - 1, before, after=after, prior=prior, memory=memory), memory
    )
    return [*links, *prior(inside), FactorOut(inside, deeper)]


def dial(
    size: str,
    sizes: Mapping[str, Mapping[str, Any]],
    event_shape: int | Sequence[int],
    *,
    pad: Padding,
    **given: Any,
) -> dict[str, Any]:
    """The settings of a size, those that are given explicitly replaced.

    The scales or the patch of a size are as large as an image of `event_shape` has room for. Raises
    `ConfigError` for an unknown size or what is no count, `ShapeError` for more scales, or a larger
    patch, than there is room for.
    """
    usual = sizes[one_of("size", size, sizes)]
    chosen = {
        name: value if given[name] is None else _count(name, given[name], value)
        for name, value in usual.items()
    }
    for name in chosen.keys() & MULTIPLES.keys():
        chosen[name] = _fitting(
            name, chosen[name], given[name] is not None, event=_image(event_shape), pad=pad
        )
    return chosen


def _count(name: str, value: Any, usual: Any) -> Any:
    """A setting of the kind of the usual one: a count of at least 1, or several that are not all
    0.
    """
    if not isinstance(usual, tuple):
        return whole(name, value, least=0 if name == "heads" else 1)  # no heads: no attention
    with contextlib.suppress(ConfigError):
        several = wholes(name, value, least=0)
        if len(several) == len(usual) and any(several):
            return several
    raise ConfigError(
        f"{name} must be {len(usual)} whole numbers, not negative and not all 0, got {value!r}"
    )


def _fitting(name: str, value: int, given: bool, *, event: Shape, pad: Padding) -> int:
    """`value` scales (or a patch of that side) if the image has room for them, else, unless given,
    as many as it has.
    """
    multiple = MULTIPLES[name]
    longest = max(event[1:])
    # beyond, nothing fits
    top = min(value, longest.bit_length() if name == "scales" else 2 * longest)
    most = next((n for n in range(top, 0, -1) if _fits(event, multiple(n), pad)), 0)
    if most == value or (most and not given):
        return most
    mend = f"at most {name}={most}" if most else EVEN
    if pad == "none":
        raise ShapeError(_uneven(event, f"2^{value}" if name == "scales" else f"{value}", mend))
    raise ShapeError(
        f"{name}={value} pads an image {event} to four times its pixels, or more: use {mend}"
    )


def _fits(event: Shape, multiple: int, pad: Padding) -> bool:
    """Is it divided by that, or padded to less than four times as many pixels? Those of a single
    pixel are padded to four.
    """
    padded = _padded(event, multiple)
    return padded == event or (pad != "none" and (prod(padded) < 4 * prod(event) or multiple <= 2))


def _padded(event: Shape, multiple: int) -> Shape:
    channels, height, width = event
    return (channels, -height % multiple + height, -width % multiple + width)


def _uneven(event: Shape, multiple: str, mend: str) -> str:
    return f"height and width of {event} are not multiples of {multiple}: use pad='auto', or {mend}"


def _image(event_shape: int | Sequence[int]) -> Shape:
    shape = as_shape(event_shape)
    if len(shape) != 3 or min(shape) < 1:
        raise ShapeError(f"this model is for images, event_shape=(C, H, W), not {shape}")
    return shape
