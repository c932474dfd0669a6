"""THE table: every transform, map, partition, conditioner, base and model, with the shapes that the
contract tests it at.

A new map is one line in `MAPS`, a new partition one in `PARTITIONS`, a new conditioner one in
`CONDITIONERS`, a new base one in `BASES`, any other new layer one in `_layers`, a new model one in
`_models`: every property of `test_contract.py` then runs on it, and `test_completeness.py` fails
until the line is there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor, nn

import diffeo
from diffeo import Chain, Flow, Inverse, Transform
from diffeo.bases import (
    Base,
    GaussianMixture,
    Logistic,
    Normal,
    PlacedMixture,
    Product,
    StudentT,
    Uniform,
)
from diffeo.conditioners import (
    MLP,
    ConditionerFactory,
    ConvNet,
    ConvResNet,
    GatedConv,
    Periodic,
    ResidualMLP,
    TorusNet,
    Transformer,
)
from diffeo.core.links import Links
from diffeo.layers import (
    ActNorm,
    Columns,
    Conv1x1,
    Coupling,
    Dequantize,
    FactorOut,
    Flatten,
    Interval,
    Logit,
    LULinear,
    Pad,
    Patchify,
    PeriodicConv,
    Permute,
    Pointwise,
    Positive,
    Recompute,
    Regress,
    Squeeze,
    Standardize,
    VariationalDequantize,
    Whiten,
    Wrap,
)
from diffeo.maps import (
    Additive,
    Affine,
    CircularSpline,
    Composed,
    CubicSpline,
    ElementwiseMap,
    LinearSpline,
    LogisticMixture,
    Odd,
    QuadraticSpline,
    RQSpline,
)
from diffeo.partitions import (
    Channels,
    Checkerboard,
    Halves,
    Indices,
    Partition,
    Tokens,
    alternating,
    random,
)

Shape = tuple[int, ...]
Draw = Callable[[int, torch.Generator], Tensor]


class Encoder(Transform):
    """A flow seen as a transform, so that models are held to the same properties as layers."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow
        self.exact, self.context_shape, self.any_dtype = (
            flow.exact,
            flow.context_shape,
            flow.transform.any_dtype,
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.flow.encode(x, context)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.flow.decode(y, context)

    def forward_shape(self, shape: Shape) -> Shape:
        return self.flow.transform.forward_shape(shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        return self.flow.transform.inverse_shape(shape)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        self.flow.initialize(x, context)


@dataclass(frozen=True)
class Case:
    """One line of the table. `build()` is fresh, `ready()` is initialised, with random parameters,
    in evaluation mode.
    """

    event: Shape
    context: Shape | None
    build: Callable[[], Transform]
    draw: Draw  # (n, generator) -> float64 inputs (n, *event)
    identity: bool = True  # is it the identity as built?
    periods: tuple[float, ...] | float = 0.0  # of the data side's entries, 0 for a line
    latent_periods: tuple[float, ...] | float = 0.0  # the same of the latent side
    far: Draw | None = None  # inputs far out; by default 100 and 1e6 times `draw`
    data_dtype: torch.dtype | None = None  # what `inverse` returns whatever the model's dtype
    classes: int | None = None  # contexts are class numbers
    spread: float = 0.3  # of the noise that moves the parameters

    def draw_context(self, n: int, g: torch.Generator) -> Tensor | None:
        """n contexts, float64."""
        if self.classes is not None:
            return torch.randint(0, self.classes, (n,), generator=g).double()
        return (
            None
            if self.context is None
            else torch.randn(n, *self.context, generator=g, dtype=torch.float64)
        )

    def ready(self, dtype: torch.dtype = torch.float64) -> Transform:
        """Set up on data of the case, every parameter moved off its start, seed fixed."""
        transform = self.build()
        x, context = self.inputs(64, dtype=torch.float64, seed=11)
        # set up in the model's own dtype unless the layer takes any: what a user's loop would do
        transform.initialize(
            x if transform.any_dtype else x.float(), None if context is None else context.float()
        )
        return randomise(transform, spread=self.spread).to(dtype).eval()

    def inputs(
        self, n: int = 6, dtype: torch.dtype = torch.float64, seed: int = 1
    ) -> tuple[Tensor, Tensor | None]:
        """n rows of input and of context."""
        g = torch.Generator().manual_seed(seed)
        x = self.draw(n, g)
        context = self.draw_context(n, g)
        return x.to(dtype), None if context is None else context.to(dtype)

    def far_inputs(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Rows far from the data, with contexts as far."""
        g = torch.Generator().manual_seed(3)
        x = (
            self.far(8, g)
            if self.far is not None
            else torch.cat([100 * self.draw(4, g), 1e6 * self.draw(4, g)])
        )
        scale = torch.tensor([100.0] * 4 + [1e6] * 4, dtype=torch.float64)
        context = None
        if self.classes is not None:
            context = self.draw_context(8, g)
        elif self.context is not None:
            context = torch.randn(8, *self.context, generator=g, dtype=torch.float64)
            context = (context * scale.view(-1, *[1] * len(self.context))).to(dtype)
        return x.to(dtype), context


@torch.no_grad()
def randomise(module: nn.Module, seed: int = 7, spread: float = 0.3) -> nn.Module:
    """Move every parameter by normal noise."""
    g = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.add_(
            spread * torch.randn(parameter.shape, generator=g, dtype=torch.float64).to(parameter)
        )
    return module


# --- inputs ---------------------------------------------------------------------------------------


def normal(*shape: int, scale: float = 1.0) -> Draw:
    """Normal inputs."""
    return lambda n, g: scale * torch.randn(n, *shape, generator=g, dtype=torch.float64)


def between(low: float, high: float, *shape: int) -> Draw:
    """Uniform inputs strictly inside."""
    return lambda n, g: (
        low + (high - low) * (0.02 + 0.96 * torch.rand(n, *shape, generator=g, dtype=torch.float64))
    )


def powers(*shape: int, reach: float = 1.0) -> Draw:
    """Positive inputs whose logarithm is normal with standard deviation `reach`."""
    return lambda n, g: torch.exp(reach * torch.randn(n, *shape, generator=g, dtype=torch.float64))


def integers(low: int, high: int, *shape: int) -> Draw:
    """Whole numbers."""
    return lambda n, g: torch.randint(low, high, (n, *shape), generator=g).double()


def nearly_determined(n: int, g: torch.Generator) -> Tensor:
    """Four columns, the last of which the others determine to a hundredth."""
    x = torch.randn(n, 4, generator=g, dtype=torch.float64)
    return torch.cat([x[:, :3], x[:, :3].sum(1, keepdim=True) + 0.01 * x[:, 3:]], 1)


def columns(*parts: Draw) -> Draw:
    """Columns of different kinds, side by side."""
    return lambda n, g: torch.cat([part(n, g) for part in parts], dim=1)


# --- the pieces that combine ----------------------------------------------------------------------

CIRCLE = CircularSpline(bins=3, low=-3.0, high=3.0)

MAPS: dict[str, ElementwiseMap] = {
    "additive": Additive(),
    "affine": Affine(log_scale=1.5),
    "spline": RQSpline(bins=4, low=-3.0, high=3.0),
    "spline-free": RQSpline(bins=3, low=-2.0, high=2.5, ends="free"),
    "circular": CIRCLE,
    "logistic-mixture": LogisticMixture(components=3),
    "linear-spline": LinearSpline(bins=3, low=-3.0, high=3.0),
    "quadratic-spline": QuadraticSpline(bins=4, low=-3.0, high=3.0),
    "cubic-spline": CubicSpline(bins=3, low=-3.0, high=3.0),
    "composed": Composed((Affine(log_scale=1.0), RQSpline(bins=3, low=-3.0, high=3.0))),
    "odd": Odd(RQSpline(bins=3, low=0.0, high=3.0, ends="free")),
}

PARTITIONS: dict[str, Callable[[int], Partition]] = {
    "halves": lambda d: Halves(),
    "halves-flip": lambda d: Halves(flip=True),
    "indices": lambda d: Indices(d, [d - 1]),
    "alternating": lambda d: alternating(d),
    "alternating-flip": lambda d: alternating(d, flip=True),
    "random": lambda d: random(d, seed=3),
}

# smooth activations, so that finite differences mean something
CONDITIONERS: dict[str, ConditionerFactory] = {
    "mlp": MLP((8,), activation="silu"),
    "residual": ResidualMLP(width=8, blocks=1, activation="tanh"),
    "periodic": Periodic(MLP((8,), activation="silu"), circular=[0], low=-3.0, high=3.0),
}

# partitions of images and of tokens, with an event that each cuts
IMAGE_PARTITIONS: dict[str, tuple[Shape, Callable[[], Partition]]] = {
    "channels": ((3, 4, 2), lambda: Channels()),
    "channels-flip": ((3, 2, 4), lambda: Channels(flip=True)),
    "checkerboard": ((1, 4, 4), lambda: Checkerboard((1, 4, 4))),
    "checkerboard-flip": ((2, 2, 4), lambda: Checkerboard((2, 2, 4), flip=True)),
    "checkerboard-odd": ((1, 5, 3), lambda: Checkerboard((1, 5, 3))),
    "checkerboard-odd-flip": ((2, 3, 4), lambda: Checkerboard((2, 3, 4), flip=True)),
}
TOKEN_PARTITIONS: dict[str, tuple[Shape, Callable[[], Partition]]] = {
    "tokens/channels": ((4, 5), lambda: Tokens((2, 2), "channels", size=5)),
    "tokens/channels-flip": ((2, 4), lambda: Tokens((1, 2), "channels", size=4, flip=True)),
    "tokens/rows": ((6, 2), lambda: Tokens((3, 2), "rows")),
    "tokens/rows-flip": ((6, 2), lambda: Tokens((3, 2), "rows", flip=True)),
    "tokens/columns": ((4, 3), lambda: Tokens((2, 2), "columns")),
    "tokens/checkerboard": ((9, 2), lambda: Tokens((3, 3), "checkerboard")),
}
IMAGE_CONDITIONERS: dict[str, ConditionerFactory] = {
    "conv": ConvNet(width=6, activation="silu"),
    "conv-residual": ConvResNet(width=6, blocks=1, activation="silu"),
    "gated-conv": GatedConv(width=4, blocks=1, heads=2),
    "gated-conv-plain": GatedConv(width=4, blocks=1, heads=0),
}
LATTICE_CONDITIONERS: dict[str, ConditionerFactory] = {
    "torus": TorusNet(Checkerboard((1, 4, 4)), (4, 4), activation="silu"),
    "torus-odd": TorusNet(Checkerboard((1, 4, 4)), (4,), odd=(1,)),
}
TOKEN_CONDITIONERS: dict[str, ConditionerFactory] = {
    "transformer": Transformer(width=8, depth=1, heads=2)
}


def _period(map: ElementwiseMap) -> float:
    return map.high - map.low if isinstance(map, CircularSpline) else 0.0


def _map_draw(map: ElementwiseMap, *shape: int) -> Draw:
    return between(map.low, map.high, *shape) if isinstance(map, CircularSpline) else normal(*shape)


def _coupling(map: str, partition: str, conditioner: str, size: int, context: Shape | None) -> Case:
    def build() -> Transform:
        torch.default_generator.manual_seed(5)
        return Coupling(
            (size,), MAPS[map], CONDITIONERS[conditioner], PARTITIONS[partition](size), context
        )

    parts = PARTITIONS[partition](size)
    transformed = parts.split(torch.arange(size)[None])[1][0].tolist()
    periods = tuple(_period(MAPS[map]) if i in transformed else 0.0 for i in range(size))
    return Case(
        (size,), context, build, _map_draw(MAPS[map], size), periods=periods, latent_periods=periods
    )


def _couplings() -> Iterator[tuple[str, Case]]:
    """Every pair of map, partition and conditioner at three entries (a Latin square); every map at
    D = 1, 2 and 5.
    """
    conditioners = list(CONDITIONERS)
    for (i, map), (j, partition) in product(enumerate(MAPS), enumerate(PARTITIONS)):
        conditioner = conditioners[(i + j) % len(conditioners)]
        context = (2,) if (i + j // 2) % 2 else None
        yield (
            f"{map}/{partition}/{conditioner}/3",
            _coupling(map, partition, conditioner, 3, context),
        )
    for map, size, context in product(MAPS, (1, 2, 5), (None, (2,))):
        partition, conditioner = ("halves", "mlp") if size != 2 else ("halves-flip", "residual")
        named = "" if context is None else "/context"
        yield (
            f"{map}/{partition}/{conditioner}/{size}{named}",
            _coupling(map, partition, conditioner, size, context),
        )
    yield "affine/halves/mlp/4/context 2x3", _coupling("affine", "halves", "mlp", 4, (2, 3))


def _image_coupling(
    map: str,
    event: Shape,
    build: Callable[[], Partition],
    net: ConditionerFactory,
    context: Shape | None,
) -> Case:
    def made() -> Transform:
        torch.default_generator.manual_seed(5)
        return Coupling(event, MAPS[map], net, build(), context)

    return Case(event, context, made, normal(*event))


def _image_couplings() -> Iterator[tuple[str, Case]]:
    """Every partition of images, every conditioner, contexts that are vectors, classes and images,
    three kinds of map.
    """
    maps = ("affine", "spline", "additive")
    for partitions, networks in (
        (IMAGE_PARTITIONS, IMAGE_CONDITIONERS),
        (TOKEN_PARTITIONS, TOKEN_CONDITIONERS),
    ):
        names = list(networks)
        for i, (partition, (event, build)) in enumerate(partitions.items()):
            name, map = names[i % len(names)], maps[i % len(maps)]
            yield (
                f"{map}/{partition}/{name}",
                _image_coupling(map, event, build, networks[name], (3,) if i % 2 else None),
            )
    event, build = IMAGE_PARTITIONS["checkerboard"]
    for (name, net), context in product(IMAGE_CONDITIONERS.items(), ((2,), (1, 4, 4), (2, 3, 3))):
        yield (
            f"affine/checkerboard/{name}/context {context}",
            _image_coupling("affine", event, build, net, context),
        )
    for name, net in LATTICE_CONDITIONERS.items():
        yield f"affine/checkerboard/{name}", _image_coupling("affine", event, build, net, None)
    event, build = TOKEN_PARTITIONS["tokens/rows"]
    yield (
        "affine/tokens/rows/context image",
        _image_coupling("affine", event, build, TOKEN_CONDITIONERS["transformer"], (1, 2, 2)),
    )


def _pointwise() -> Iterator[tuple[str, Case]]:
    for (name, map), shape in product(MAPS.items(), ((1,), (2, 3))):
        period = _period(map)
        yield (
            f"pointwise/{name}/{'x'.join(str(n) for n in shape)}",
            Case(
                shape,
                None,
                lambda map=map, shape=shape: Pointwise(shape, map),
                _map_draw(map, *shape),
                periods=period,
                latent_periods=period,
            ),
        )


# --- other layers ---------------------------------------------------------------------------------


def _standardised(shape: Shape, **options: object) -> Case:
    return Case(
        shape,
        None,
        lambda: Standardize(shape, **options),
        lambda n, g: 5 + 3 * normal(*shape)(n, g),
    )


def _chain(context: Shape | None) -> Callable[[], Chain]:
    def build() -> Chain:
        torch.default_generator.manual_seed(5)
        net = CONDITIONERS["mlp"]
        links = [
            Standardize((4,)),
            Coupling((4,), MAPS["affine"], net, Halves(), context),
            ActNorm((4,)),
            LULinear(4),
            Coupling((4,), MAPS["spline"], net, Halves(flip=True)),
        ]
        return Chain(links)

    return build


def _inverted(context: Shape | None, chain: type[Links] = Chain) -> Callable[[], Transform]:
    """The inverse of such a chain, without the layers that are set up from data."""

    def build() -> Transform:
        links = [t for t in _chain(context)() if not isinstance(t, (Standardize, ActNorm))]
        return Inverse(chain(links))

    return build


def _layers() -> Iterator[tuple[str, Case]]:
    for shape in ((1,), (3,), (2, 3), (3, 2, 2)):
        yield f"standardize/{shape}", _standardised(shape)
        yield (
            f"actnorm/{shape}",
            Case(
                shape,
                None,
                lambda s=shape: ActNorm(s),
                lambda n, g, s=shape: 2 + 3 * normal(*s)(n, g),
            ),
        )
    yield "standardize/skip", _standardised((3,), skip=[1])
    yield (
        "standardize/float64",
        replace(_standardised((2,), data_dtype="float64"), data_dtype=torch.float64),
    )
    yield "flatten", Case((2, 3), None, lambda: Flatten((2, 3)), normal(2, 3), identity=False)
    yield "permute", Case((4,), None, lambda: Permute([2, 0, 3, 1]), normal(4), identity=False)
    yield (
        "permute/random",
        Case((5,), None, lambda: Permute.random(5, seed=2), normal(5), identity=False),
    )
    yield (
        "permute/2d",
        Case((3, 2), None, lambda: Permute([2, 0, 1], (3, 2)), normal(3, 2), identity=False),
    )
    for size in (1, 2, 5):
        yield f"lu/{size}", Case((size,), None, lambda s=size: LULinear(s), normal(size))
    yield (
        "positive",
        Case((3,), None, Positive, powers(3), identity=False, far=powers(3, reach=20.0)),
    )
    edges = between(-1.0 + 1e-6, -1.0 + 2e-6, 2)
    yield (
        "interval",
        Case((2,), None, lambda: Interval(-1.0, 3.0), between(-1, 3, 2), identity=False, far=edges),
    )
    yield "wrap", Case((2,), None, lambda: Wrap(0.0, 360.0), between(0, 360, 2), False, 360.0, 10.0)
    yield "columns", Case((3,), None, lambda: Columns([2, 0], LULinear(2)), normal(3))
    mixed = columns(normal(1), powers(2))
    far = columns(normal(1, scale=1e6), powers(2, reach=20.0))
    yield (
        "columns/positive",
        Case((3,), None, lambda: Columns([1, 2], Positive()), mixed, identity=False, far=far),
    )
    yield from _image_layers()
    for shape in ((1, 4, 4), (2, 3, 5), (1, 1, 2)):
        yield (
            f"periodic-conv/{shape}",
            Case(shape, None, lambda s=shape: PeriodicConv(s), normal(*shape)),
        )
    for share, context in ((0.05, None), (1.0, None), (0.05, (2,)), (1.0, (2, 3))):
        build = lambda share=share, context=context: Regress(4, context, share=share)  # noqa: E731
        yield f"regress/{share}/{context}", Case((4,), context, build, nearly_determined)
    yield "whiten", Case((3,), None, lambda: Whiten(3), normal(3, scale=4.0), identity=False)
    yield "dequantize", Case((3,), None, Dequantize, integers(-5, 9, 3), identity=False)
    yield "chain", Case((4,), None, _chain(None), normal(4))
    yield "chain/context", Case((4,), (2,), _chain((2,)), normal(4))
    yield "recompute", Case((4,), None, lambda: Recompute(_chain(None)()), normal(4))
    yield "recompute/context", Case((4,), (2,), lambda: Recompute(_chain((2,))()), normal(4))
    yield "recompute/inverse", Case((4,), (2,), _inverted((2,), Recompute), normal(4))
    yield (
        "recompute/scales",
        Case((2, 4, 4), (2,), lambda: _scales(Recompute), normal(2, 4, 4), identity=False),
    )
    yield "chain/empty", Case((2,), None, lambda: Chain([]), normal(2))
    yield (
        "chain/flatten",
        Case(
            (2, 2),
            None,
            lambda: Chain([Flatten((2, 2)), LULinear(4)]),
            normal(2, 2),
            identity=False,
        ),
    )
    yield "inverse", Case((4,), None, _inverted(None), normal(4))
    yield "inverse/context", Case((4,), (2,), _inverted((2,)), normal(4))
    yield (
        "inverse/flatten",
        Case((6,), None, lambda: Flatten((2, 3)).inv, normal(6), identity=False),
    )
    yield "inverse/positive", Case((2,), None, lambda: Positive().inv, normal(2), identity=False)


def levels(bits: int, *shape: int) -> Draw:
    """Pixels of that many bits, as numbers."""
    return integers(0, 2**bits, *shape)


def _scales(chain: Callable[[list[Transform]], Transform] = Chain) -> Transform:
    torch.default_generator.manual_seed(5)
    deeper = chain(
        [
            Squeeze(),
            ActNorm((4, 2, 2)),
            Coupling((4, 2, 2), MAPS["affine"], IMAGE_CONDITIONERS["conv"], Channels(), (2,)),
        ]
    )
    return chain([ActNorm((2, 4, 4)), FactorOut((2, 4, 4), deeper)])


def _variational() -> Transform:
    torch.default_generator.manual_seed(5)
    event = (1, 4, 2)
    net = IMAGE_CONDITIONERS["conv"]
    coupling = Coupling(event, MAPS["affine"], net, Checkerboard(event), context_shape=event)
    return VariationalDequantize(Flow(Chain([Interval(0.0, 1.0), coupling]), Normal(event)), bits=3)


def _image_layers() -> Iterator[tuple[str, Case]]:
    for kind in ("plain", "plu", "householder"):
        build = lambda kind=kind: Conv1x1((3, 2, 2), kind)  # noqa: E731
        yield (
            f"conv1x1/{kind}",
            Case((3, 2, 2), None, _seeded(build), normal(3, 2, 2), identity=False),
        )
    yield "squeeze", Case((2, 4, 6), None, Squeeze, normal(2, 4, 6), identity=False)
    yield "squeeze/3", Case((1, 3, 6), None, lambda: Squeeze(3), normal(1, 3, 6), identity=False)
    yield (
        "patchify",
        Case((2, 4, 6), None, lambda: Patchify((2, 4, 6), 2), normal(2, 4, 6), identity=False),
    )
    yield "factor_out", Case((2, 4, 4), (2,), _scales, normal(2, 4, 4), identity=False)
    yield "pad", Case((2, 3, 5), None, lambda: Pad((2, 3, 5), 4), normal(2, 3, 5), identity=False)
    inside = between(0, 1, 3)
    yield "logit", Case((3,), None, Logit, inside, identity=False, far=inside)
    yield "logit/1e-5", Case((3,), None, lambda: Logit(1e-5), inside, identity=False, far=inside)
    for bits in (1, 5, 8):
        whole = levels(bits, 1, 2, 3)
        case = Case(
            (1, 2, 3),
            None,
            lambda bits=bits: Dequantize(bits=bits),
            whole,
            identity=False,
            far=whole,
        )
        yield f"dequantize/{bits} bits", replace(case, data_dtype=torch.uint8)
    whole = levels(3, 1, 4, 2)
    case = Case(
        (1, 4, 2), None, _variational, whole, identity=False, far=whole, data_dtype=torch.uint8
    )
    yield "dequantize/variational", case


def _seeded(build: Callable[[], Transform]) -> Callable[[], Transform]:
    def made() -> Transform:
        torch.default_generator.manual_seed(5)
        return build()

    return made


# --- models ---------------------------------------------------------------------------------------

SMALL = {"layers": 2, "hidden": (8, 8), "activation": "silu"}


def model(
    name: str, size: int, context: int | None = None, draw: Draw | None = None, **options: object
) -> Case:
    """A case of a model of vectors."""
    settings = {**SMALL, **options}

    def build() -> Transform:
        return Encoder(
            diffeo.models.MODELS[name]((size,), context_shape=context, seed=4, **settings)
        )

    shape = None if context is None else (context,)
    starts = "supports" not in options and options.get("mixing") != "permute"
    typed = torch.float64 if "supports" in options else None
    return Case((size,), shape, build, draw or normal(size), identity=starts, data_dtype=typed)


KINDS = ["positive", "interval:-1:3", "real", "circular:0:360"]
_KIND_DRAW = columns(powers(1), between(-1, 3, 1), normal(1), between(0, 360, 1))
_KIND_FAR = columns(
    powers(1, reach=20.0), between(2.99, 2.999, 1), normal(1, scale=1e6), between(0, 360, 1)
)


VECTOR_MODELS = ("nice", "realnvp", "nsf")
TINY_IMAGES: dict[str, dict[str, object]] = {
    "nice": {"width": 6, "depth": 1, "activation": "silu"},
    "realnvp": {"scales": 1, "width": 4, "blocks": 1, "activation": "silu"},
    "glow": {"scales": 2, "steps": 1, "width": 4, "activation": "silu"},
    "nsf": {"scales": 1, "steps": 1, "width": 4, "blocks": 1, "activation": "silu"},
    "flowpp": {"steps": (1, 1, 1), "width": 4, "heads": 2, "components": 2},
    "jet": {"layers": 4, "width": 4},
}


def image_model(name: str, event: Shape, context: Shape | None = None, **options: object) -> Case:
    """A case of a model of images; with `bits=None` the images are real-valued and the density
    exact.
    """
    settings = {"size": "tiny", **TINY_IMAGES[name], "seed": 4, **options}
    bits, classes = settings.setdefault("bits", 8), settings.get("classes")

    def build() -> Transform:
        return Encoder(diffeo.models.MODELS[name](event, context_shape=context, **settings))

    draw = normal(*event) if bits is None else levels(int(str(bits)), *event)
    typed = None if bits is None else torch.uint8
    shape = () if classes is not None else context
    return Case(
        event,
        shape,
        build,
        draw,
        False,
        far=None if bits is None else draw,
        data_dtype=typed,
        classes=classes,
        spread=0.1,  # type: ignore[arg-type]
    )


def _image_models() -> Iterator[tuple[str, Case]]:
    for name in TINY_IMAGES:
        yield f"{name}/image", image_model(name, (1, 4, 4))
        yield f"{name}/image/real", image_model(name, (1, 4, 4), bits=None)
        yield f"{name}/image/real/c", image_model(name, (2, 4, 4), (2,), bits=None)
        yield f"{name}/image/classes", image_model(name, (1, 4, 4), classes=3, bits=5)
        if name != "nice":  # which knows no neighbours, so every size is alike
            yield f"{name}/image/odd", image_model(name, (1, 3, 5), bits=4)
        yield f"{name}/image/invert", image_model(name, (1, 4, 4), (2,), bits=None, memory="invert")
        yield f"{name}/image/image", image_model(name, (1, 4, 4), (1, 4, 4), bits=None)


def _models() -> Iterator[tuple[str, Case]]:
    yield from _image_models()
    for name, size, context in product(VECTOR_MODELS, (1, 3), (None, 2)):
        yield f"{name}/{size}{'' if context is None else '/c'}", model(name, size, context)
    for name in VECTOR_MODELS:
        lines = columns(powers(1), between(-1, 3, 1), normal(1))
        far = columns(powers(1, reach=20.0), between(2.99, 2.999, 1), normal(1, scale=1e6))
        yield f"{name}/supports", replace(model(name, 3, 1, lines, supports=KINDS[:3]), far=far)
        yield f"{name}/lu", model(name, 3, mixing="lu", split="alternating", residual=True)
        yield f"{name}/permute", model(name, 5, mixing="permute", split="random", base="student_t")
        whole = columns(integers(0, 9, 1), normal(1))
        yield f"{name}/integer", model(name, 2, None, whole, supports=["integer", "real"])
        yield f"{name}/mixture", model(name, 2, base="mixture")
        yield f"{name}/invert", model(name, 3, 2, memory="invert")
    for settings in (
        {"activation": "silu"},
        {"symmetric": True, "spectrum": True, "map": "spline"},
    ):

        def build(settings=settings):
            flow = diffeo.models.lattice((1, 4, 4), layers=4, hidden=(4,), **settings)
            return Encoder(flow)

        yield (
            f"lattice/{'/'.join(settings)}",
            Case((1, 4, 4), None, build, normal(1, 4, 4), spread=0.1),
        )
    circles = {"periods": (0.0, 0.0, 0.0, 360.0), "latent_periods": (0.0, 0.0, 0.0, 10.0)}
    yield (
        "nsf/circular",
        replace(model("nsf", 4, 1, _KIND_DRAW, supports=KINDS), far=_KIND_FAR, **circles),
    )
    yield "nsf/affine", model("nsf", 3, 1, affine=True)
    yield "nsf/uniform", model("nsf", 2, None, between(-5, 5, 2), base="uniform")


TRANSFORMS: dict[str, Case] = dict(
    [*_couplings(), *_image_couplings(), *_pointwise(), *_layers(), *_models()]
)


# --- bases ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BaseCase:
    """One base of two entries: PyTorch's own distribution for it where there is one, and a point
    outside its support.
    """

    build: Callable[[], Base]
    reference: Callable[[], torch.distributions.Distribution] | None = None
    outside: tuple[float, float] | None = None
    # standard deviation of the first entry at a temperature
    spread: Callable[[float], float] | None = None
    event: Shape = (2,)

    def ready(self, dtype: torch.dtype = torch.float64) -> Base:
        """With random parameters, seed fixed."""
        base = randomise(self.build(), spread=0.5).to(dtype)
        assert isinstance(base, Base)
        return base


def _each(one: torch.distributions.Distribution) -> torch.distributions.Distribution:
    return torch.distributions.Independent(one.expand((2,)), 1)


def _double(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


BASES: dict[str, BaseCase] = {
    "normal": BaseCase(
        lambda: Normal((2,)),
        lambda: _each(torch.distributions.Normal(_double(0.0), _double(1.0))),
        spread=lambda t: t,
    ),
    "uniform": BaseCase(
        lambda: Uniform((2,), -1.0, 3.0),
        lambda: _each(torch.distributions.Uniform(_double(-1.0), _double(3.0))),
        outside=(0.0, 3.5),
        spread=lambda t: 4 / math.sqrt(12),
    ),
    "student_t": BaseCase(
        lambda: StudentT((2,), df=6.0),
        lambda: _each(torch.distributions.StudentT(_double(6.0))),
        spread=lambda t: t * math.sqrt(6 / 4),
    ),
    "logistic": BaseCase(lambda: Logistic((2,)), spread=lambda t: t * math.pi / math.sqrt(3)),
    "mixture": BaseCase(lambda: GaussianMixture((2,), components=3, seed=1)),
    "placed": BaseCase(
        lambda: PlacedMixture(
            torch.tensor([1.0, 3.0]),
            torch.tensor([[-2.0, 0.0], [1.0, 1.0]]),
            torch.tensor([[[1.0, 0.0], [0.5, 2.0]], [[0.5, 0.0], [0.0, 1.0]]]),
        )
    ),
    "product": BaseCase(
        lambda: Product([([1], Normal(1)), ([0], Uniform(1, -1.0, 3.0))]),
        outside=(-1.5, 0.0),
        spread=lambda t: 4 / math.sqrt(12),
    ),
}
