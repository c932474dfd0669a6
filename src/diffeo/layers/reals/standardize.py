"""The first layer of a model of data with units."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ...core.numerics import centre_and_scale
from ...core.settings import one_of, wholes
from ..fixed_shape import FixedShape

__all__ = ["Standardize"]

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Standardize(FixedShape):
    """y = (x − mean) / sd per entry, log|det| = −Σ log sd; fitted by `initialize`, then constant.

    It computes in the precision of its input and hands on its own (float32, unless the model was
    moved): the mean is kept as two numbers, so float64 input of 1.7e9 ± 1 loses nothing.
    `data_dtype="float64"` makes the inverse return float64, which tables use. Entries in `skip`
    pass unchanged. Entries constant in the training data are named in a warning and only centred.
    Raises `ConfigError` for another `data_dtype` or an entry to skip that there is not.

    >>> import torch, diffeo
    >>> layer = diffeo.layers.Standardize((1,))
    >>> layer.initialize(torch.tensor([[1.0], [5.0]]))
    >>> layer(torch.tensor([[5.0]]))
    (tensor([[1.]]), tensor([-0.6931]))
    """

    mean: Tensor
    mean_rest: Tensor
    scale: Tensor
    any_dtype = True
    settles_dtype = True

    def __init__(
        self,
        event_shape: int | Sequence[int],
        *,
        skip: Sequence[int] = (),
        data_dtype: Literal["float32", "float64"] | None = None,
    ) -> None:
        super().__init__(event_shape)
        self.skip = wholes("skip", skip, least=0, fewest=0)
        self.data_dtype = (
            None if data_dtype is None else DTYPES[one_of("data_dtype", data_dtype, DTYPES)]
        )
        for name, value in (("mean", 0.0), ("mean_rest", 0.0), ("scale", 1.0)):
            self.register_buffer(name, torch.full(self.event_shape, value))

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        self.check(x)
        mean, scale, constant = centre_and_scale(x)
        mean[list(self.skip)], scale[list(self.skip)], constant[list(self.skip)] = 0.0, 1.0, False
        if bool(constant.any()):
            where = constant.flatten().nonzero().flatten().tolist()
            warnings.warn(
                f"entries {where} are constant in the training data: only centred", stacklevel=2
            )
        self.mean.copy_(mean)
        self.mean_rest.copy_(mean - self.mean)
        self.scale.copy_(scale)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        x = x if x.is_floating_point() else x.double()
        y = ((x - self.mean - self.mean_rest) / self.scale).to(self.mean.dtype)
        return y, (-self._log_scale()).expand(x.shape[0])

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(y)
        y = y.to(self.data_dtype) if self.data_dtype is not None else y
        return y * self.scale + self.mean_rest + self.mean, self._log_scale().expand(y.shape[0])

    def _log_scale(self) -> Tensor:
        return self.scale.log().sum()

    def extra_repr(self) -> str:
        return f"{self.event_shape}, {math.prod(self.event_shape)} entries"
