"""The mixture of logistics: Flow++'s map."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ..core.settings import number, whole
from ..kernels import Kernel, MixtureShape, logistic_mixture
from .base import ElementwiseMap

__all__ = ["LogisticMixture"]


@dataclass(frozen=True)
class LogisticMixture(ElementwiseMap):
    """y = exp(a) [(1 − ε) logit F(x) + ε x] + t, F(x) = Σ_i π_i σ((x − μ_i) exp(−s_i)), a mixture
    of K logistics.

    Parameters (a, t, K logits of π, K μ, K s), P = 2 + 3K; |a| ≤ `log_scale` and |s_i| ≤
    `log_width`, softly. The share ε = `floor` of the identity, which the paper does not have, keeps
    the slope above ε exp(a) between components far apart, so that float32 can invert. The inverse
    is Newton's method in a bracket, a fixed number of steps; its gradients, those of its log-det
    too, come from the implicit function theorem. Flow++, Ho et al. 2019, arXiv:1902.00275. Raises
    `ConfigError` unless there is at least one component, both bounds are positive and 0 < ε < 1.

    >>> import torch, diffeo
    >>> mixture = diffeo.maps.LogisticMixture(components=4)
    >>> y, logdet = mixture.forward(torch.tensor([1.0]), torch.zeros(1, mixture.num_params))
    >>> torch.allclose(y, torch.ones(1)), torch.allclose(logdet, torch.zeros(1), atol=1e-6)
    (True, True)
    """

    components: int = 8
    log_scale: float = 2.0
    log_width: float = 3.0
    floor: float = 0.05
    _shape: MixtureShape = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        whole("components", self.components)
        number("log_scale", self.log_scale, above=0)
        number("log_width", self.log_width, above=0)
        number("floor", self.floor, above=0, below=1)
        shape = MixtureShape(
            self.components, float(self.log_scale), float(self.log_width), float(self.floor)
        )
        object.__setattr__(self, "_shape", shape)

    @property
    def num_params(self) -> int:
        return 2 + 3 * self.components

    def kernel(self, inverse: bool = False) -> Kernel:
        return logistic_mixture(self._shape, inverse)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self.kernel()(x, params)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self.kernel(inverse=True)(y, params)
