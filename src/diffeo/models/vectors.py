"""What the models of vectors share: the front that takes data with units, the base, the couplings
between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from ..bases import Base, GaussianMixture, Normal, Product, StudentT, Uniform
from ..conditioners import MLP, ConditionerFactory, Periodic, ResidualMLP, StandardizeContext
from ..core.errors import ConfigError, ShapeError
from ..core.settings import number, one_of, whole, wholes
from ..core.shapes import Shape, as_shape
from ..core.transform import Transform
from ..flow import Flow
from ..layers import (
    Columns,
    Coupling,
    LULinear,
    Permute,
    Regress,
    Standardize,
)
from ..layers.memory.recompute import Memory, chained
from ..maps import ElementwiseMap
from ..partitions import Halves, Indices, Partition, alternating, random
from ..supports import Support, front

__all__ = ["Mixing", "Split", "VectorModel"]

Split = Literal["halves", "alternating", "random"]
Mixing = Literal["none", "lu", "permute"]
BaseName = Literal["normal", "student_t", "mixture", "uniform"]


@dataclass(frozen=True, kw_only=True)
class VectorModel:
    """The frame around the couplings of a vector model: [front, (regress,) standardise, (mixing,
    coupling) × layers], base.
    """

    event_shape: int | Sequence[int]
    context_shape: int | Sequence[int] | None
    supports: Sequence[str] | None
    hidden: Sequence[int]
    activation: str
    dropout: float
    residual: bool
    split: Split
    mixing: Mixing
    base: BaseName
    bound: float
    seed: int
    memory: Memory = "store"
    regress: float | None = None

    def build(
        self,
        layers: int,
        map: ElementwiseMap,
        circular: ElementwiseMap | None = None,
        *,
        last: Sequence[Transform] = (),
    ) -> Flow:
        """Assemble the flow. `circular`, a map of circles, is for the columns that are circles."""
        self.check(layers)
        if circular is None and self.circles:
            raise ConfigError(
                f"columns {self.circles} are circular: of the vector models, nsf can do circles"
            )
        chain = [*self.front(), *self.body(layers, map, circular), *last]
        embedding = None if self.context is None else StandardizeContext(self.context)
        return Flow(
            chained(chain, self.memory),
            self.base_distribution(),
            context_shape=self.context,
            embedding=embedding,
        )

    def check(self, layers: int) -> None:
        """Raise `ConfigError` for settings that the parts would not see, or see late."""
        whole("layers", layers)
        wholes("hidden", self.hidden)
        number("bound", self.bound, above=0)
        for name, choices in (("split", Split), ("mixing", Mixing), ("base", BaseName)):
            one_of(name, getattr(self, name), get_args(choices))

    @property
    def size(self) -> int:
        shape = as_shape(self.event_shape)
        if len(shape) != 1 or shape[0] < 1:
            raise ShapeError(f"this model is for vectors, event_shape=(D,), not {shape}")
        return shape[0]

    @property
    def context(self) -> Shape | None:
        return None if self.context_shape is None else as_shape(self.context_shape)

    @cached_property
    def kinds(self) -> list[Support]:
        texts = ["real"] * self.size if self.supports is None else list(self.supports)
        if len(texts) != self.size:
            raise ConfigError(
                f"{len(texts)} supports for a vector of {self.size} entries: give one each"
            )
        return [Support.parse(text) for text in texts]

    @cached_property
    def circles(self) -> list[int]:
        return [i for i, support in enumerate(self.kinds) if support.period is not None]

    @cached_property
    def lines(self) -> list[int]:
        around = set(self.circles)
        return [i for i in range(self.size) if i not in around]

    def front(self) -> Iterator[Transform]:
        """From the data's own units to standardised reals (and circles on [−bound, bound))."""
        yield from front(self.kinds, self.bound)
        skip = self.circles
        if self.regress:
            yield Regress(self.size, self.context, share=self.regress, skip=self.circles)
            # it has standardised them all
            skip = list(range(self.size)) if self.regress >= 1 else skip
        yield Standardize(
            self.size, skip=skip, data_dtype="float64" if self.supports is not None else None
        )

    def body(
        self, layers: int, map: ElementwiseMap, circular: ElementwiseMap | None
    ) -> Iterator[Transform]:
        for layer in range(layers):
            if self.lines:
                if layer and self.mixing != "none":
                    yield self.mixer(layer)
                yield self.coupling(layer, map, self.lines)
            if self.circles and circular is not None:
                yield self.coupling(layer, circular, self.circles)

    def mixer(self, layer: int) -> Transform:
        n = len(self.lines)
        mix = LULinear(n) if self.mixing == "lu" else Permute.random(n, seed=_mix(self.seed, layer))
        return mix if not self.circles else Columns(self.lines, mix)

    def coupling(self, layer: int, map: ElementwiseMap, among: list[int]) -> Transform:
        partition = self.partition(layer, among)
        conditioning = getattr(partition, "conditioning", [])
        around = set(self.circles)
        circles = [k for k, i in enumerate(conditioning) if i in around]
        network = self.network()
        if circles:
            network = Periodic(network, circles, -self.bound, self.bound)
        return Coupling(self.size, map, network, partition, self.context)

    def partition(self, layer: int, among: list[int]) -> Partition:
        """Transform half of the entries in `among`; every other layer the other half."""
        n = len(among)
        flip = bool(layer % 2)
        if self.split == "halves" and n == self.size:
            return Halves(flip)
        halves: dict[Split, Callable[[], list[int]]] = {
            "halves": lambda: list(range(n // 2)) if flip and n > 1 else list(range(n // 2, n)),
            "alternating": lambda: alternating(n, flip).transformed,
            "random": lambda: _random_half(n, flip, _mix(self.seed, layer // 2)),
        }
        return Indices(self.size, [among[i] for i in halves[self.split]()])

    def network(self) -> ConditionerFactory:
        if not self.residual:
            return MLP(tuple(self.hidden), self.activation, self.dropout)
        if len(set(self.hidden)) != 1:
            raise ConfigError(
                f"a residual conditioner has one width: hidden={list(self.hidden)} has several"
            )
        return ResidualMLP(self.hidden[0], len(self.hidden), self.activation, self.dropout)

    def base_distribution(self) -> Base:
        def real(n: int) -> Base:
            names: dict[str, Callable[[], Base]] = {
                "normal": lambda: Normal(n),
                "student_t": lambda: StudentT(n),
                "mixture": lambda: GaussianMixture(n, seed=self.seed),
                "uniform": lambda: Uniform(n, -self.bound, self.bound),
            }
            return names[self.base]()

        if not self.circles:
            return real(self.size)
        circle = Uniform(len(self.circles), -self.bound, self.bound)
        return (
            Product([(self.lines, real(len(self.lines))), (self.circles, circle)])
            if self.lines
            else circle
        )


def _random_half(n: int, flip: bool, seed: int) -> list[int]:
    chosen = random(n, seed)
    return chosen.conditioning if flip and n > 1 else chosen.transformed


def _mix(seed: int, layer: int) -> int:
    return (seed * 1_000_003 + layer) % 2**64
