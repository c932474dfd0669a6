"""The scikit-learn face: a flow as an estimator."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .core.arrays import EXACT, refuse_changes
from .core.errors import ConfigError, DataError
from .core.tensors import to_tensor
from .data.tables.frames import is_pandas
from .data.tables.sources import open_source
from .domains import TABLE
from .models import SPECS, models_for
from .training import fit, log_probs

__all__ = ["FlowEstimator"]

RandomState = int | np.random.RandomState | np.random.Generator | None


class FlowEstimator(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A density estimator with scikit-learn's methods; log-densities are in nats and the data's own
    units.

    `model` is a name in `diffeo.models.MODELS`, `model_args` go to it, `fit_args` to `diffeo.fit`;
    what is not given is chosen from the size of the data. `transform` maps rows to the latent
    space, `inverse_transform` back. Fitted attributes: `flow_`, `result_`, `n_features_in_`.
    `random_state` is a whole number, which makes everything repeatable, None, or a `RandomState` or
    `Generator` of NumPy, which each fit and each sample takes one number of. Raises `ConfigError`
    for an unknown model, `DataError` for cells that are masked, no numbers, or rounded by float64.

    >>> import numpy as np, diffeo
    >>> X = np.random.default_rng(0).normal(size=(300, 2))
    >>> est = diffeo.FlowEstimator(fit_args={"steps": 20}).fit(X)
    >>> est.score_samples(X).shape, est.sample(5).shape
    ((300,), (5, 2))
    """

    def __init__(
        self,
        model: str = TABLE.default_model,
        *,
        model_args: dict[str, Any] | None = None,
        fit_args: dict[str, Any] | None = None,
        random_state: RandomState = 0,
    ) -> None:
        self.model = model
        self.model_args = model_args
        self.fit_args = fit_args
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Train a flow on rows X (N, D); `y` is ignored."""
        rows = self._checked(X, ensure_min_samples=2)
        if self.model not in models_for(TABLE.name):
            raise ConfigError(
                f"unknown model {self.model!r}: use one of {', '.join(models_for(TABLE.name))}"
            )
        args = (
            TABLE.recommend(*rows.shape).model_args(self.model)
            | {"supports": ["real"] * rows.shape[1]}
            | (self.model_args or {})
        )
        seed = _seed(self.random_state)
        self.flow_ = SPECS[self.model].build((rows.shape[1],), seed=seed, **args)
        self.result_ = fit(self.flow_, rows, **{"seed": seed, **(self.fit_args or {})})
        return self

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """log p(x) of each row, (N,)."""
        rows = self._rows(X)
        return np.asarray(log_probs(self.flow_, rows).double())

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Mean log p(x): higher is better."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> NDArray[np.float64]:
        """New rows (n, D); the same whole number as `random_state` draws the same rows, a generator
        goes on.
        """
        check_is_fitted(self)
        state = self.random_state if random_state is None else random_state
        generator = None if state is None else torch.Generator().manual_seed(_seed(state))
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
        return np.asarray(self.flow_.decode(to_tensor("Z", Z))[0].double())

    def _rows(self, X: ArrayLike) -> torch.Tensor:
        check_is_fitted(self)
        return to_tensor("X", self._checked(X, reset=False))

    def _checked(self, X: Any, **options: Any) -> NDArray[np.float64]:
        """Rows as scikit-learn checks them. Raises `DataError` for what it would have changed in
        silence.
        """
        X = to_tensor("X", X).cpu().numpy() if isinstance(X, torch.Tensor) else X
        rows: NDArray[np.float64] = validate_data(self, X, dtype=np.float64, **options)
        _refuse_changes(X)
        return rows


def _seed(state: RandomState) -> int:
    """A seed for torch from what scikit-learn calls a random state. Raises `ConfigError` for
    anything else.
    """
    if isinstance(state, Integral):
        return int(state)
    if isinstance(state, np.random.Generator):
        return int(state.integers(2**31))
    try:
        return int(check_random_state(state).randint(2**31))
    except ValueError:
        raise ConfigError(
            f"random_state={state!r}; give a whole number, None, or a RandomState or Generator of"
            " NumPy"
        ) from None


def _refuse_changes(X: Any) -> None:
    """Refuse masks, which scikit-learn drops; text, dates, categories, taken for numbers; numbers
    that float64 rounds.
    """
    if not (is_pandas(X) or hasattr(X, "__arrow_c_stream__")):
        refuse_changes("X", X)
        return
    source = open_source(X)
    for name, words in source.text.items():
        raise DataError(f"X: column {name!r} is {words}; leave it out, or make numbers of it")
    whole = [j for j, n in enumerate(source.names) if n in source.integral]
    for block in source.blocks(source.names):
        for j in whole:
            if np.nanmax(np.abs(block.values[:, j]), initial=0) >= EXACT:
                raise DataError(
                    f"X: column {source.names[j]!r} holds whole numbers of 2^53 or more, which"
                    " float64 rounds"
                )
