"""scikit-learn's checks of the manners that every estimator is to have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from dask_em import GaussianMixture
from dask_em.models.covariance import STRUCTURES

ESTIMATORS = [
    *(GaussianMixture(covariance_type=name) for name in STRUCTURES),
    GaussianMixture(2, missing="drop"),
    GaussianMixture(2, degenerate="raise", init_params="k-means++"),
]


def expected_failures(estimator: GaussianMixture) -> dict[str, str]:
    found = {}
    if estimator.n_components > 1:
        found["check_sample_weight_equivalence_on_dense_data"] = (
            "a start is drawn from the rows, so other rows are drawn when some are repeated; from "
            "a given start the fits are the same, see tests/estimators"
        )
    return found


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures)
@pytest.mark.filterwarnings("default")
def test_manners(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)
