"""The scikit-learn face behaves as scikit-learn expects."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import diffeo
from diffeo.core.errors import ConfigError


def rows(n: int = 300) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 2))
    x[:, 1] += x[:, 0] ** 2
    return 100 * x + 5


def quick(**args: object) -> diffeo.FlowEstimator:
    return diffeo.FlowEstimator(
        model_args={"layers": 2, "hidden": (16,), "dropout": 0.0}, fit_args={"steps": 60}, **args
    )


def test_fit_score_sample_and_both_transforms() -> None:
    x = rows()
    est = quick().fit(x)
    assert est.score_samples(x).shape == (300,)
    assert est.score(x) == pytest.approx(est.score_samples(x).mean())
    assert est.score(x) > est.score(x + 1000)
    z = est.transform(x)
    assert np.abs(est.inverse_transform(z) - x).max() < 1e-2
    assert abs(z.mean()) < 0.5
    assert np.array_equal(est.sample(5, random_state=1), est.sample(5, random_state=1))


def test_clone_pipeline_and_unfitted() -> None:
    assert clone(quick(random_state=3)).random_state == 3
    assert make_pipeline(StandardScaler(), quick()).fit(rows()).score(rows()) < 0
    with pytest.raises(NotFittedError):
        quick().score(rows())
    with pytest.raises(ValueError, match="2 features"):
        quick().fit(rows()).score(rows()[:, :1])
    with pytest.raises(ConfigError, match="unknown model"):
        diffeo.FlowEstimator("glue").fit(rows())
