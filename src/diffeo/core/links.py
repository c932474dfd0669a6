"""What transforms one after the other have in common, however they are run."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

from torch import Tensor, nn

from .errors import ContextError, ShapeError
from .shapes import Shape
from .transform import Transform

__all__ = ["Links", "Planner", "context_for", "plan_with"]

Planner = Callable[
    [Sequence[Transform], Tensor, Tensor | None, bool], tuple[Tensor, Tensor, int] | None
]
_planners: list[Planner] = []


def plan_with(planner: Planner) -> None:
    """Let `planner(links, x, context, inverse)` run what goes together in one call.

    It is asked before each link, with all that follow, and returns the pair and how many links it
    ran, or None: then the link runs by itself. This room knows no kernels, so they come here.
    """
    _planners.append(planner)


class Links(Transform):
    """f_n ∘ ... ∘ f_1 of the transforms given, the first nearest the data; abstract: children say
    how both directions are run.

    Raises `ContextError` when two links ask for contexts of different shapes. `forward_shape` names
    the link that cannot take its input. The weights of all children have the same names, so that
    one loads those of another.
    """

    def __init__(self, transforms: Iterable[Transform]) -> None:
        super().__init__()
        links = list(transforms)
        self.transforms = nn.ModuleList(links)
        self.exact = all(t.exact for t in links)
        self.any_dtype, self.settles_dtype = _dtypes(links)
        shapes = {t.context_shape for t in links if t.context_shape is not None}
        if len(shapes) > 1:
            raise ContextError(
                f"the links of a chain read contexts of different shapes: {sorted(shapes)}"
            )
        self.context_shape = next(iter(shapes), None)

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]: ...

    def __iter__(self) -> Iterator[Transform]:
        return iter(cast("list[Transform]", self.transforms))

    def __len__(self) -> int:
        return len(self.transforms)

    def __getitem__(self, index: int) -> Transform:
        return cast(Transform, self.transforms[index])

    def through(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """x through all links, their log-dets summed."""
        return _run(list(self), x, context, inverse=False)

    def back(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """y back through all links, their log-dets summed."""
        return _run(list(self)[::-1], y, context, inverse=True)

    def forward_shape(self, shape: Shape) -> Shape:
        for i, transform in enumerate(self):
            shape = _named(i, transform, transform.forward_shape, shape=shape)
        return shape

    def inverse_shape(self, shape: Shape) -> Shape:
        for i, transform in reversed(list(enumerate(self))):
            shape = _named(i, transform, transform.inverse_shape, shape=shape)
        return shape

    def parts(self, shape: Shape) -> tuple[Shape, ...]:
        if len(self) == 0:
            return (shape,)
        for transform in list(self)[:-1]:
            shape = transform.forward_shape(shape)
        return self[-1].parts(shape)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        for transform in self:
            transform.initialize(x, context_for(transform, context))
            x, _ = transform(x, context_for(transform, context))


def _run(
    links: list[Transform], x: Tensor, context: Tensor | None, *, inverse: bool
) -> tuple[Tensor, Tensor]:
    total = None
    while links:
        x, logdet, count = _next(links, x, context_for(links[0], context), inverse=inverse)
        total = logdet if total is None else total + logdet
        links = links[count:]
    return x, x.new_zeros(x.shape[0]) if total is None else total


def _next(
    links: list[Transform], x: Tensor, context: Tensor | None, *, inverse: bool
) -> tuple[Tensor, Tensor, int]:
    """x through the first link and as many of those that follow as go with it."""
    for planner in _planners:
        done = planner(links, x, context, inverse)
        if done is not None:
            return done
    y, logdet = links[0].inverse(x, context) if inverse else links[0](x, context)
    return y, logdet, 1


def context_for(transform: Transform, context: Tensor | None) -> Tensor | None:
    """The context, for links that read one: conditional and unconditional links may share a
    chain.
    """
    return None if transform.context_shape is None else context


def _dtypes(transforms: list[Transform]) -> tuple[bool, bool]:
    """Does the chain take any dtype, and does it then hand on the model's? The links before the
    first that settles it decide.
    """
    for transform in transforms:
        if not transform.any_dtype:
            return False, False
        if transform.settles_dtype:
            return True, True
    return len(transforms) > 0, False


def _named(i: int, transform: Transform, rule: object, *, shape: Shape) -> Shape:
    try:
        return cast(Shape, rule(shape))  # type: ignore[operator]
    except ShapeError as error:
        raise ShapeError(f"link {i} ({type(transform).__name__}): {error}") from None
