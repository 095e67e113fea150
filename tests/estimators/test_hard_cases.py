"""Cases in which a mixture once went wrong, or easily could."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Theirs

from dask_em import GaussianMixture, Outcome


def normal(n=2000, d=2, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def test_float32_rows_that_are_nearly_in_a_line():
    a = np.vstack([normal(), 5 * normal(seed=1)])
    for scale in (1, 10, 100):
        rows = (np.column_stack([a, a.sum(axis=1)]) * scale).astype(np.float32)
        single = GaussianMixture(1).fit(rows)
        double = GaussianMixture(1).fit(rows.astype(np.float64))
        assert single.lower_bound_ == pytest.approx(double.lower_bound_, abs=1e-3)


def test_warm_start_on_other_data_goes_on():
    mixture = GaussianMixture(2, reg_covar=0, warm_start=True, random_state=0).fit(normal())
    mixture.fit(10 * normal(seed=3) + 4)
    assert mixture.outcome_ is not Outcome.DESCENDED
    assert mixture.n_iter_ > 1


def test_heavy_weights_leave_no_component_empty():
    rows = np.vstack([normal(500), normal(500, seed=1) + 200])
    weights = np.repeat([1.0, 2000.0], 500)
    for policy in ("repair", "drop", "raise"):
        mixture = GaussianMixture(2, random_state=0, degenerate=policy)
        mixture.fit(rows, sample_weight=weights)
        assert len(mixture.weights_) == 2
        assert not any(record.repairs for record in mixture.history_)


@pytest.mark.parametrize("weight", [1e-15, 0.1, 1.0, 1e15])
def test_the_unit_of_the_weights_means_nothing(weight):
    rows = np.vstack([normal(50), normal(50, seed=1) + 8])
    plain = GaussianMixture(2, random_state=0).fit(rows)
    mixture = GaussianMixture(2, random_state=0).fit(rows, sample_weight=np.full(100, weight))
    np.testing.assert_allclose(mixture.means_, plain.means_, rtol=1e-9)
    assert mixture.lower_bound_ == pytest.approx(plain.lower_bound_, rel=1e-9)


def test_reg_covar_is_enough_for_a_constant_beside_a_large_feature():
    large = np.concatenate([normal(100, 1), normal(100, 1, seed=1) + 9]) * 1e5
    rows = np.column_stack([large, np.full(200, 3.0)])
    theirs = Theirs(2, random_state=0).fit(rows)
    for policy in ("repair", "drop", "raise"):
        mixture = GaussianMixture(2, random_state=0, degenerate=policy).fit(rows)
        assert mixture.lower_bound_ == pytest.approx(theirs.lower_bound_, abs=1e-6)
        assert not any(record.repairs for record in mixture.history_)


@pytest.mark.parametrize("constant", [0.1, 0.5, 0.7, 1e9])
def test_a_constant_is_one_whatever_its_value(constant):
    rows = np.column_stack([normal(500, 1), np.full(500, constant)])
    bounds = [
        GaussianMixture(1, reg_covar=0).fit(rows - [0, shift]).lower_bound_
        for shift in (0, constant)
    ]
    assert bounds[0] == pytest.approx(bounds[1], abs=1e-6)


def test_weights_of_zero_hide_what_cannot_be_fitted():
    rows = normal(300).astype(np.float32)
    plain = GaussianMixture(2, random_state=0).fit(rows[5:])
    weights = np.ones(300)
    weights[:5] = 0
    rows[:3], rows[3:5] = 1e20, np.nan
    mixture = GaussianMixture(2, random_state=0).fit(rows, sample_weight=weights)
    assert mixture.lower_bound_ == pytest.approx(plain.lower_bound_, abs=1e-3)


def test_few_rows_of_positive_weight_among_many():
    weights = np.zeros(200_000)
    weights[::4000] = 1
    mixture = GaussianMixture(12, random_state=0, max_iter=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(normal(200_000), sample_weight=weights)
    assert mixture.history_[0].rows == 50


def test_history_tells_only_of_what_was_done():
    start = {
        "weights_init": [0.5, 0.5],
        "means_init": [[0.0, 0.0], [500.0, 500.0]],
        "precisions_init": [np.eye(2), np.eye(2)],
    }
    with pytest.warns(ConvergenceWarning):
        once = GaussianMixture(2, max_iter=1, **start).fit(normal(200))
    assert [repair.action for repair in once.history_[-1].repairs] == ["left as it is"]
    mixture = GaussianMixture(2, max_iter=200, **start).fit(normal(200))
    actions = [repair.action for record in mixture.history_ for repair in record.repairs]
    assert "moved to badly explained rows" in actions
    assert np.abs(mixture.means_).max() < 10


def test_the_twin_is_of_its_own_and_of_the_size_that_is_left():
    rows = np.vstack([normal(100), np.full((1, 2), 300.0)])
    start = {
        "weights_init": [0.4, 0.3, 0.3],
        "means_init": [[0.0, 0.0], [300.0, 300.0], [-900.0, 900.0]],
        "precisions_init": [np.eye(2)] * 3,
    }
    mixture = GaussianMixture(3, degenerate="drop", **start).fit(rows)
    twin = mixture.to_sklearn()
    assert twin.n_components == len(mixture.weights_) == 2
    assert twin.bic(rows) == pytest.approx(mixture.bic(rows))
    score = twin.score(rows)
    mixture.means_ += 1
    assert twin.score(rows) == score


def test_a_fit_that_fails_leaves_the_old_one():
    mixture = GaussianMixture(2, random_state=0).fit(normal(50))
    bad = normal(50, 3)
    bad[4, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        mixture.fit(bad)
    assert len(mixture.predict(normal(50))) == 50


def test_draws():
    mixture = GaussianMixture(2, random_state=0).fit(normal(50))
    one, other = (mixture.sample(5, random_state=0)[0] for _ in range(2))
    np.testing.assert_array_equal(one, other)
    one, other = (mixture.sample(5)[0] for _ in range(2))
    assert (one != other).all()


def test_rows_too_far_for_float32_have_no_nan():
    mixture = GaussianMixture(2, random_state=0).fit(normal(100).astype(np.float32))
    far = np.array([[1e20, 0.0], [0.0, 0.0]], np.float32)
    with np.errstate(all="ignore"):
        assert mixture.score_samples(far)[0] == -np.inf
        np.testing.assert_allclose(mixture.predict_proba(far).sum(axis=1), 1)
