"""Flow++: mixtures of logistics, attention and learned dequantisation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...bases import Normal
from ...conditioners import GatedConv
from ...core.shapes import Shape
from ...core.transform import Transform
from ...flow import Flow
from ...layers import ActNorm, Conv1x1, Coupling, Interval, Squeeze, VariationalDequantize
from ...layers.memory.recompute import Memory, chained
from ...maps import LogisticMixture
from ...partitions import Channels, Checkerboard
from ..recipe import model
from .frame import ImageModel, Padding, Size, dial

__all__ = ["flowpp"]

SIZES = {
    "tiny": {"steps": (2, 1, 1), "width": 32, "blocks": 1, "components": 4, "noise": 1, "heads": 1},
    "small": {
        "steps": (4, 2, 3),
        "width": 48,
        "blocks": 2,
        "components": 8,
        "noise": 2,
        "heads": 2,
    },
    # CIFAR-10
    "paper": {
        "steps": (4, 2, 3),
        "width": 96,
        "blocks": 10,
        "components": 32,
        "noise": 4,
        "heads": 4,
    },
}


@model
def flowpp(
    event_shape: int | Sequence[int],
    context_shape: int | Sequence[int] | None = None,
    *,
    size: Size = "small",
    steps: Sequence[int] | None = None,
    width: int | None = None,
    blocks: int | None = None,
    components: int | None = None,
    noise: int | None = None,
    heads: int | None = None,
    alpha: float = 0.05,
    dropout: float = 0.0,
    classes: int | None = None,
    bits: int | None = 8,
    pad: Padding = "auto",
    memory: Memory = "store",
    seed: int = 0,
) -> Flow:
    """Flow++ (Ho et al. 2019, arXiv:1902.00275): couplings of logistic mixtures, `noise` couplings
    that learn the noise.

    `steps` = (checkerboard, channel, checkerboard) couplings, a squeeze after the first; each
    coupling is ActNorm, 1×1 convolution (where there is more than one channel), gated convolutions
    with attention (`blocks`, `width`, `heads`), mixtures of `components` logistics. Nothing is
    factored out. Events are uint8 images (C, H, W) of `bits` bits, `bits=None` takes real-valued
    ones. `classes=K` makes contexts class numbers 0..K−1. Odd sizes are padded; a single pixel is
    cut by no checkerboard, and gets plain noise. Raises `ShapeError` for other events.

    `memory="invert"` trains in memory that does not grow with the depth (`layers.Recompute`).

    >>> import torch, diffeo
    >>> flow = diffeo.models.flowpp((1, 8, 8), size="tiny")
    >>> flow.log_prob(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape
    torch.Size([2])
    """
    given = {
        "steps": steps,
        "width": width,
        "blocks": blocks,
        "components": components,
        "noise": noise,
        "heads": heads,
    }
    s = dial(size, SIZES, event_shape, pad=pad, **given)
    frame = ImageModel(
        event_shape=event_shape,
        context_shape=context_shape,
        classes=classes,
        bits=bits,
        pad=pad,
        multiple=2,
        alpha=alpha,
        memory=memory,
    )
    network = GatedConv(s["width"], s["blocks"], s["heads"], dropout)
    mixture = LogisticMixture(s["components"])

    def couplings(
        shape: Shape, count: int, checkerboard: bool, *, context: Shape | None
    ) -> Iterator[Transform]:
        for i in range(0 if checkerboard and shape[1:] == (1, 1) else count):
            flip = bool(i % 2)
            yield ActNorm(shape)
            if shape[0] > 1:
                yield Conv1x1(shape)
            partition = Checkerboard(shape, flip) if checkerboard else Channels(flip)
            yield Coupling(shape, mixture, network, partition, context)

    def learned_noise(bits: int) -> Transform:
        event = frame.event
        # Inverted, so that drawing the noise, which every training step does, is the direction
        # without a root search.
        inverted = [
            link.inv for link in couplings(event, s["noise"], checkerboard=True, context=event)
        ]
        q = chained([Interval(0.0, 1.0), *inverted], memory)
        return VariationalDequantize(Flow(q, Normal(event)), bits)

    squeeze = Squeeze()
    inside = squeeze.forward_shape(frame.shape)
    first, second, third = s["steps"]
    body = [
        *couplings(frame.shape, first, True, context=frame.context),
        squeeze,
        *couplings(inside, second, False, context=frame.context),
        *couplings(inside, third, True, context=frame.context),
    ]
    if bits is None or frame.event[1:] == (1, 1):
        return frame.build(body)
    return frame.build(body, dequantize=learned_noise(bits))
