"""Maximum likelihood values that others have published, reached from scratch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_iris

from dask_em import GaussianMixture
from tests.golden.data import BIVARIATE, FAITHFUL


def optimum(rows: np.ndarray, k: int, covariance_type: str, **options: Any) -> GaussianMixture:
    """The best of three starts, without regularization, to the last digits that are published."""
    options = {"n_init": 3, "random_state": 3, **options}
    found = GaussianMixture(
        k, covariance_type=covariance_type, tol=1e-8, max_iter=1000, reg_covar=0.0, **options
    )
    return found.fit(rows)


def log_likelihood(model: GaussianMixture, rows: np.ndarray) -> float:
    return float(model.score(rows) * len(rows))


def test_faithful_is_as_published() -> None:
    # R: colMeans(faithful), sapply(faithful, var)
    assert FAITHFUL.shape == (272, 2)
    assert_allclose(FAITHFUL.mean(axis=0), [3.487783, 70.897059], atol=5e-7)
    assert_allclose(FAITHFUL.var(axis=0, ddof=1), [1.302728, 184.823312], rtol=1e-6)


def test_old_faithful_tied() -> None:
    # mclust, densityMclust(faithful) as in its vignette: EEE with 3 components, n = 272, df = 11,
    # log-likelihood -1126.326, BIC -2314.316 in its sign, the negative of ours. It stops when a
    # step gains less than 1e-5 of the log-likelihood; converged, the same optimum is 0.01 higher
    model = optimum(FAITHFUL, 3, "tied")
    found = log_likelihood(model, FAITHFUL)
    assert -1126.3265 < found < -1126.315
    assert -2314.3165 < -model.bic(FAITHFUL) < -2314.295
    assert model.bic(FAITHFUL) + 2 * found == pytest.approx(11 * math.log(272))


@pytest.mark.parametrize(
    ("k", "init_params", "expected"),
    # mclust, Mclust(iris[, 1:4], modelNames = "VVV"): VVV with 2 components has BIC -574.0178 in
    # its sign, log-likelihood -214.3547; with 3, log-likelihood -180.1855
    [(2, "kmeans", -214.3547), (3, "k-means++", -180.1855)],
)
def test_iris_full(k: int, init_params: str, expected: float) -> None:
    rows = load_iris().data
    model = optimum(rows, k, "full", init_params=init_params)
    assert log_likelihood(model, rows) == pytest.approx(expected, abs=2e-4)
    if k == 2:
        assert model.bic(rows) == pytest.approx(574.0178, abs=2e-4)


def test_spark_and_mixtools() -> None:
    # Apache Spark, GaussianMixtureSuite.scala, "multivariate data and check against R
    # mvnormalmixEM" (mixtools): loglik -46.89499
    model = optimum(BIVARIATE, 2, "full", n_init=2)
    order = np.argsort(model.weights_)
    assert log_likelihood(model, BIVARIATE) == pytest.approx(-46.89499, abs=1e-5)
    assert_allclose(model.weights_[order], [0.4666667, 0.5333333], atol=1e-6)
    assert_allclose(
        model.means_[order], [[0.11731091, -0.06192351], [10.363673, 9.897081]], atol=1e-6
    )
    assert_allclose(
        model.covariances_[order],
        [
            [[0.62049934, 0.06880802], [0.06880802, 1.27431874]],
            [[0.2961543, 0.1607830], [0.1607830, 1.008878]],
        ],
        atol=1e-6,
    )
