"""Rows, starts and comparisons that the tests of the estimator share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.testing import assert_allclose

from dask_em import GaussianMixture

RNG = np.random.default_rng(0)
CENTRES = np.array([[0.0, 0.0, 0.0], [2.5, 0.0, 1.0], [0.0, 3.0, -1.0]])
SPREADS = RNG.normal(size=(3, 3, 3)) * 0.4 + np.eye(3)
ROWS = (CENTRES[:, None] + RNG.normal(size=(3, 120, 3)) @ SPREADS).reshape(-1, 3)
PRECISIONS = {
    "full": np.stack([np.eye(3)] * 3),
    "tied": np.eye(3),
    "diag": np.ones((3, 3)),
    "spherical": np.ones(3),
}
FITTED = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")
COUNTS = RNG.integers(0, 4, len(ROWS))
WEIGHTS = RNG.uniform(0.1, 2, len(ROWS))
GAPS = ROWS.copy()
GAPS[3, 0] = GAPS[100:103, 2] = np.nan
WHOLE = np.isfinite(GAPS).all(axis=1)
CUBE = ROWS.reshape(12, 6, 5, 3)


def given(name: str = "full", **options: Any) -> dict[str, Any]:
    """Arguments that leave nothing to chance."""
    start = {
        "weights_init": [0.3, 0.3, 0.4],
        "means_init": CENTRES + 0.5,
        "precisions_init": PRECISIONS[name],
    }
    return {"n_components": 3, "covariance_type": name, **start, **options}


def assert_same_fit(one: GaussianMixture, other: GaussianMixture, rtol: float) -> None:
    assert one.n_iter_ == other.n_iter_
    assert_allclose(one.lower_bounds_, other.lower_bounds_, rtol=rtol, atol=rtol)
    for attribute in FITTED:
        found, expected = getattr(one, attribute), getattr(other, attribute)
        assert_allclose(found, expected, rtol=rtol, atol=rtol, err_msg=attribute)


def assert_same_bits(one: GaussianMixture, other: GaussianMixture) -> None:
    assert one.lower_bounds_ == other.lower_bounds_
    for attribute in FITTED:
        assert (getattr(one, attribute) == getattr(other, attribute)).all(), attribute


def fitted(rows: Any = ROWS, sample_weight: Any = None, **options: Any) -> GaussianMixture:
    # plain EM, wherever the rows are
    model = GaussianMixture(**given(**options), algorithm="em")
    return model.fit(rows, sample_weight=sample_weight)
