"""Rows with gaps."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest

from dask_em import GaussianMixture
from tests.estimators.common import (
    GAPS,
    ROWS,
    WEIGHTS,
    WHOLE,
    assert_same_fit,
    fitted,
)


def test_rows_with_nan_are_left_out() -> None:
    model = fitted(GAPS, missing="drop")
    assert_same_fit(model, fitted(GAPS[WHOLE]), 1e-12)
    assert {record.dropped for record in model.history_} == {4}
    assert {record.rows for record in model.history_} == {len(ROWS) - 4}
    labels, shares, density = (
        model.predict(GAPS),
        model.predict_proba(GAPS),
        model.score_samples(GAPS),
    )
    assert (labels[~WHOLE] == -1).all()
    assert (labels[WHOLE] == model.predict(GAPS[WHOLE])).all()
    assert np.isnan(density[~WHOLE]).all()
    assert (density[WHOLE] == model.score_samples(GAPS[WHOLE])).all()
    assert np.isnan(shares[~WHOLE]).all()
    assert np.isfinite(shares[WHOLE]).all()
    assert model.score(GAPS) == pytest.approx(model.score(GAPS[WHOLE]), rel=1e-12)
    assert model.bic(GAPS) == pytest.approx(model.bic(GAPS[WHOLE]), rel=1e-12)


def test_weights_of_rows_with_nan_are_left_out_too() -> None:
    one = fitted(GAPS, WEIGHTS, missing="drop")
    assert_same_fit(one, fitted(GAPS[WHOLE], WEIGHTS[WHOLE]), 1e-12)


def test_starts_do_not_see_rows_with_nan() -> None:
    one = GaussianMixture(3, missing="drop", random_state=0).fit(GAPS)
    assert_same_fit(one, GaussianMixture(3, random_state=0).fit(GAPS[WHOLE]), 1e-12)


@pytest.mark.parametrize(
    ("rows", "missing", "message"),
    [
        (GAPS, "error", "NaN"),
        (np.where(WHOLE[:, None], ROWS, np.inf), "error", "infinity"),
        (np.where(WHOLE[:, None], ROWS, -np.inf), "drop", "infinity"),
        (np.full((20, 3), np.nan), "drop", "all 20 rows hold NaN and were dropped"),
    ],
    ids=["nan", "infinity", "infinity-drop", "nothing-left"],
)
@pytest.mark.parametrize("container", [np.asarray, da.from_array, lambda x: x.reshape(4, -1, 3)])
def test_values_that_are_refused(rows: Any, missing: str, message: str, container: Any) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianMixture(2, missing=missing).fit(container(rows))


@pytest.mark.parametrize("container", [np.asarray, da.from_array])
def test_values_that_are_refused_later(container: Any) -> None:
    model = fitted()
    for method in ("predict", "predict_proba", "score_samples", "score"):
        with pytest.raises(ValueError, match="NaN"):
            np.asarray(getattr(model, method)(container(GAPS)))
