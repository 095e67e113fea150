"""Rows that count more than once, or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dask_em import DataError, GaussianMixture, SchemaError
from dask_em.models.covariance import STRUCTURES
from tests.estimators.common import (
    COUNTS,
    ROWS,
    WEIGHTS,
    assert_same_fit,
    fitted,
    given,
)


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_weight_is_a_number_of_rows(name: str) -> None:
    repeated = np.repeat(ROWS, COUNTS, axis=0)
    options = given(name, tol=1e-6, max_iter=300)
    one = GaussianMixture(**options).fit(ROWS, sample_weight=COUNTS)
    other = GaussianMixture(**options).fit(repeated)
    assert_same_fit(one, other, 1e-8)
    weighted = {"sample_weight": COUNTS}
    assert one.score(ROWS, **weighted) == pytest.approx(one.score(repeated), rel=1e-12)
    assert one.bic(ROWS, **weighted) == pytest.approx(one.bic(repeated), rel=1e-12)
    assert one.aic(ROWS, **weighted) == pytest.approx(one.aic(repeated), rel=1e-12)


def test_weights_of_one_are_no_weights() -> None:
    assert_same_fit(fitted(sample_weight=np.ones(len(ROWS))), fitted(), 1e-12)


def test_the_unit_of_weights_means_nothing() -> None:
    assert_same_fit(fitted(sample_weight=WEIGHTS * 1e-3), fitted(sample_weight=WEIGHTS), 1e-8)


@pytest.mark.parametrize("start", ["kmeans", "k-means++", "random_from_data", "random"])
def test_every_start_heeds_weights(start: str) -> None:
    rows = np.vstack([ROWS, np.random.default_rng(5).normal(size=(30, 3)) * 1e3])
    weights = np.append(WEIGHTS, np.zeros(30))
    options: dict[str, Any] = {"init_params": start, "random_state": 0, "max_iter": 500}
    one = GaussianMixture(3, **options).fit(rows, sample_weight=weights)
    other = GaussianMixture(3, **options).fit(ROWS, sample_weight=WEIGHTS)
    assert_same_fit(one, other, 1e-7)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (-WEIGHTS, DataError, f"{len(ROWS)} of {len(ROWS)} weights are negative or not finite"),
        (np.where(WEIGHTS > 1, np.nan, 1), DataError, "weights are negative or not finite"),
        (np.zeros(len(ROWS)), DataError, f"all {len(ROWS)} weights are zero"),
        (WEIGHTS[:-1], SchemaError, r"sample_weight has shape \(359,\), expected \(360,\)"),
        (WEIGHTS[:, None], SchemaError, r"sample_weight has shape \(360, 1\), expected \(360,\)"),
        (np.full(len(ROWS), "a"), SchemaError, "weights have dtype <U1; give numbers"),
    ],
    ids=["negative", "nan", "zero", "too few", "2-d", "text"],
)
def test_bad_weights(weights: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        GaussianMixture(3).fit(ROWS, sample_weight=weights)
