"""The scikit-learn face: a flow as an estimator."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .core.errors import ConfigError
from .models import MODELS
from .training import fit, log_probs, recommend

__all__ = ["FlowEstimator"]


class FlowEstimator(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A density estimator with scikit-learn's methods; log-densities are in nats and the data's own units.

    `model` is a name in `diffeo.models.MODELS`, `model_args` go to it, `fit_args` to `diffeo.fit`; what is not given is
    chosen from the size of the data. `transform` maps rows to the latent space, `inverse_transform` back. Fitted
    attributes: `flow_`, `result_`, `n_features_in_`. Raises `ConfigError` for an unknown model.

    >>> import numpy as np, diffeo
    >>> X = np.random.default_rng(0).normal(size=(300, 2))
    >>> est = diffeo.FlowEstimator(fit_args={"steps": 20}).fit(X)
    >>> est.score_samples(X).shape, est.sample(5).shape
    ((300,), (5, 2))
    """

    def __init__(
        self,
        model: str = "nsf",
        *,
        model_args: dict[str, Any] | None = None,
        fit_args: dict[str, Any] | None = None,
        random_state: int | None = 0,
    ) -> None:
        self.model = model
        self.model_args = model_args
        self.fit_args = fit_args
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Train a flow on rows X (N, D); `y` is ignored."""
        rows = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        if self.model not in MODELS:
            raise ConfigError(f"unknown model {self.model!r}: use one of {', '.join(MODELS)}")
        args = recommend(*rows.shape).model_args(self.model) | {"supports": ["real"] * rows.shape[1]} | (self.model_args or {})
        seed = int(check_random_state(None).randint(2**31)) if self.random_state is None else self.random_state
        self.flow_ = MODELS[self.model]((rows.shape[1],), seed=seed, **args)
        self.result_ = fit(self.flow_, rows, **{"seed": seed, **(self.fit_args or {})})
        return self

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """log p(x) of each row, (N,)."""
        rows = self._rows(X)
        return np.asarray(log_probs(self.flow_, rows).double())

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Mean log p(x): higher is better."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: int | None = None) -> NDArray[np.float64]:
        """New rows (n, D); the same `random_state` draws the same rows."""
        check_is_fitted(self)
        seed = next((s for s in (random_state, self.random_state) if s is not None), None)
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return np.asarray(self.flow_.sample((n_samples,), generator=generator).double())

    @torch.no_grad()
    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Rows to latents (N, D)."""
        rows = self._rows(X)
        return np.asarray(self.flow_.encode(rows)[0].double())

    @torch.no_grad()
    def inverse_transform(self, Z: ArrayLike) -> NDArray[np.float64]:
        """Latents to rows (N, D)."""
        check_is_fitted(self)
        return np.asarray(self.flow_.decode(torch.as_tensor(np.asarray(Z)))[0].double())

    def _rows(self, X: ArrayLike) -> torch.Tensor:
        check_is_fitted(self)
        return torch.as_tensor(validate_data(self, X, dtype=np.float64, reset=False))
