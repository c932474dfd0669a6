"""The contract of everything that goes into a chain, and its inverse."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from .errors import ConfigError
from .shapes import Shape

__all__ = ["Inverse", "Transform"]


class Transform(nn.Module, ABC):
    """An invertible map x (B, *in) <-> y (B, *out) with one batch axis; `forward` is data ->
    latent.

    To write one: subclass, implement `forward` and `inverse`, and, where the shape changes or is
    fixed, `forward_shape` and `inverse_shape`. Both directions return the pair (value, log-weight),
    the second of shape (B,): the log-det of the direction just taken. Set `exact = False` when that
    is only a term of a lower bound (dequantisation). Put data-dependent set-up into `initialize`,
    never into `forward`. At initialisation a transform is the identity. Add one line to
    `tests/cases.py` and the whole contract is tested.
    """

    exact: bool = True
    """True: the second value is log|det J|. False: it is a term of a lower bound."""

    context_shape: Shape | None = None
    """The context it reads, or None."""

    draws: bool = False
    """True: one of its directions draws from PyTorch's global generators (dropout in its networks
    aside).
    """

    any_dtype: bool = False
    """True: takes input of any dtype as it is (first layers do); False: wants the dtype of the
    model.
    """

    settles_dtype: bool = False
    """True: hands on the dtype of the model whatever it was given (standardisation does)."""

    @property
    def support(self) -> Constraint | None:
        """What each entry of x may be, where that is less than every real number; None says
        nothing.
        """
        return None

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """data -> latent: y and log|det dy/dx| of shape (B,)."""

    @abstractmethod
    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """latent -> data: x and log|det dx/dy| of shape (B,)."""

    def forward_shape(self, shape: Shape) -> Shape:
        """The event shape of y for x of event shape `shape`; raises `ShapeError` when it cannot
        take it.
        """
        return shape

    def inverse_shape(self, shape: Shape) -> Shape:
        """The event shape of x for y of event shape `shape`; raises `ShapeError` when it cannot
        take it.
        """
        return shape

    def parts(self, shape: Shape) -> tuple[Shape, ...]:
        """What y, for x of event shape `shape`, consists of: several shapes when it is several
        scales, flattened.
        """
        return (self.forward_shape(shape),)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Data-dependent set-up from one batch of inputs; nothing by default."""
        return

    @property
    def inv(self) -> Transform:
        """The same transform with its directions exchanged; `t.inv.inv is t`."""
        return Inverse(self)


class Inverse(Transform):
    """A transform with its two directions exchanged: forward is x = f⁻¹(y), inverse y = f(x).

    `initialize` raises `ConfigError` for a transform that is set up from the data that goes into
    it, as an inverse is given what comes out; an `ActNorm` that is set up already stays as it is.

    >>> import torch, diffeo
    >>> layer = diffeo.layers.Positive()
    >>> diffeo.Inverse(layer)(layer(torch.tensor([[3.0]]))[0])[0]
    tensor([[3.]])
    """

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        self.transform = transform
        self.exact = transform.exact
        self.context_shape = transform.context_shape
        # which comes from the model's side now
        self.any_dtype = transform.any_dtype and not transform.settles_dtype

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.transform.inverse(x, context)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        out: tuple[Tensor, Tensor] = self.transform(y, context)
        return out

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        for part in self.transform.modules():
            if isinstance(part, Transform) and _awaits_data(part):
                raise ConfigError(
                    f"{type(part).__name__} is set up from the data that goes into it, which its"
                    " inverse is not given: initialize an ActNorm before it is inverted, put other"
                    " layers into the chain as they are"
                )

    def forward_shape(self, shape: Shape) -> Shape:
        return self.transform.inverse_shape(shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        return self.transform.forward_shape(shape)

    @property
    def inv(self) -> Transform:
        return self.transform


def _awaits_data(part: Transform) -> bool:
    """Does `initialize` set up the part itself, not just what it holds, and has not done so?"""
    if type(part).initialize is Transform.initialize or getattr(part, "initialized", False):
        return False
    holds = any(isinstance(inner, Transform) for inner in part.modules() if inner is not part)
    return bool(part.state_dict()) and not holds
