"""What scikit-learn's GaussianMixture does, ours does too."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import mixture as sklearn_mixture
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from dask_em import GaussianMixture
from dask_em.models.covariance import STRUCTURES
from tests.estimators.common import CENTRES, FITTED, ROWS, given


def both(rows: Any, **options: Any) -> tuple[GaussianMixture, sklearn_mixture.GaussianMixture]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ours = GaussianMixture(**options).fit(rows)
        return ours, sklearn_mixture.GaussianMixture(**options).fit(rows)


@pytest.mark.parametrize("max_iter", [1, 2, 17])
@pytest.mark.parametrize("name", STRUCTURES)
def test_the_same_fit_from_the_same_start(name: str, max_iter: int) -> None:
    ours, theirs = both(ROWS, **given(name, max_iter=max_iter, tol=0.0))
    assert ours.n_iter_ == theirs.n_iter_ == max_iter
    assert_allclose(ours.lower_bounds_, theirs.lower_bounds_, rtol=0, atol=1e-9)
    for attribute in FITTED:
        expected = getattr(theirs, attribute)
        found = getattr(ours, attribute)
        assert found.shape == expected.shape
        assert_allclose(found, expected, rtol=1e-7, atol=1e-9, err_msg=attribute)
    assert_allclose(ours.score_samples(ROWS), theirs.score_samples(ROWS), atol=1e-9)
    assert_allclose(ours.predict_proba(ROWS), theirs.predict_proba(ROWS), atol=1e-8)
    assert (ours.predict(ROWS) == theirs.predict(ROWS)).all()
    assert ours.score(ROWS) == pytest.approx(theirs.score(ROWS), abs=1e-9)
    assert ours.bic(ROWS) == pytest.approx(theirs.bic(ROWS), rel=1e-9)
    assert ours.aic(ROWS) == pytest.approx(theirs.aic(ROWS), rel=1e-9)


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("tol", [1e-2, 1e-3, 1e-5])
def test_the_same_stop(name: str, tol: float) -> None:
    ours, theirs = both(ROWS, **given(name, max_iter=500, tol=tol))
    assert ours.converged_ is True
    assert ours.n_iter_ == theirs.n_iter_
    assert_allclose(ours.lower_bounds_, theirs.lower_bounds_, atol=1e-9)


def test_the_same_signature() -> None:
    theirs = sklearn_mixture.GaussianMixture().get_params()
    ours = GaussianMixture().get_params()
    assert {name: ours[name] for name in theirs} == theirs
    own = {"missing", "degenerate", "on_bad_chunk", "algorithm", "tol_gap", "init_sample"}
    assert set(ours) - set(theirs) == own


def test_lower_bounds_are_those_before_the_m_step() -> None:
    model = GaussianMixture(**given(max_iter=50)).fit(ROWS)
    assert model.lower_bounds_[-1] == model.lower_bound_
    assert len(model.lower_bounds_) == model.n_iter_
    assert model.score(ROWS) > model.lower_bound_
    passes = [record for record in model.history_ if record.kind == "em"]
    assert [record.objective for record in passes] == model.lower_bounds_
    assert [record.iteration for record in passes] == list(range(model.n_iter_))
    assert {record.rows for record in passes} == {len(ROWS)}
    assert {record.kernel for record in passes} == {"lifted"}


def test_a_tolerance_of_zero_never_converges_and_warns_once() -> None:
    with pytest.warns(ConvergenceWarning, match="did not converge") as caught:
        model = GaussianMixture(2, tol=0.0, max_iter=3, n_init=3, random_state=0).fit(ROWS)
    assert len(caught) == 1
    assert not model.converged_
    assert "raise max_iter" in model.outcome_.advice


def test_no_iterations() -> None:
    # without a warning, which would be an error here
    for options in (given(max_iter=0), {"n_components": 3, "max_iter": 0, "random_state": 0}):
        model = GaussianMixture(**options).fit(ROWS)
        assert model.lower_bound_ == -np.inf
        assert model.lower_bounds_ == []
        assert not model.converged_
        assert model.n_iter_ == 0
        assert np.isfinite(model.score(ROWS))
    assert_allclose(GaussianMixture(**given(max_iter=0)).fit(ROWS).means_, CENTRES + 0.5)


def test_the_best_of_several_starts_is_kept() -> None:
    options: dict[str, Any] = {"init_params": "random_from_data", "max_iter": 200, "tol": 1e-4}
    several = GaussianMixture(4, n_init=6, random_state=1, **options).fit(ROWS)
    first = GaussianMixture(4, n_init=1, random_state=1, **options).fit(ROWS)
    assert several.lower_bound_ > first.lower_bound_


def test_warm_start_goes_on() -> None:
    options = given(tol=1e-9, warm_start=True)
    with pytest.warns(ConvergenceWarning):
        twice = GaussianMixture(**options, max_iter=1).fit(ROWS).fit(ROWS)
    with pytest.warns(ConvergenceWarning):
        once = GaussianMixture(**options, max_iter=2).fit(ROWS)
    for attribute in FITTED:
        assert_allclose(getattr(twice, attribute), getattr(once, attribute), rtol=1e-12)
    assert twice.lower_bound_ == pytest.approx(once.lower_bound_, abs=1e-12)


def test_warm_start_converges_at_once_where_it_had() -> None:
    model = GaussianMixture(2, warm_start=True, random_state=0, n_init=3).fit(ROWS)
    again = clone(model).fit(ROWS)
    assert model.fit(ROWS).n_iter_ == 1
    assert again.n_iter_ > 1


def test_float32_in_float32_out() -> None:
    rows = ROWS.astype(np.float32)
    model = GaussianMixture(**given()).fit(rows)
    for attribute in FITTED:
        assert getattr(model, attribute).dtype == np.float32, attribute
    assert model.predict_proba(rows).dtype == np.float32
    assert model.score_samples(rows).dtype == np.float32
    assert model.predict(rows).dtype == np.int64
    double = GaussianMixture(**given()).fit(rows.astype(np.float64))
    assert_allclose(model.means_, double.means_, atol=1e-3)
    assert model.lower_bound_ == pytest.approx(double.lower_bound_, abs=1e-4)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, bool])
def test_integers_become_float64(kind: type) -> None:
    rows = np.random.default_rng(2).integers(0, 3, (60, 2)).astype(kind)
    options: dict[str, Any] = {"random_state": 0, "max_iter": 500}
    model = GaussianMixture(**options).fit(rows)
    assert model.means_.dtype == np.float64
    assert_allclose(model.means_, [rows.mean(axis=0)])


def test_lists_are_rows() -> None:
    one = GaussianMixture(**given()).fit(ROWS.tolist())
    other = GaussianMixture(**given()).fit(ROWS)
    assert (one.means_ == other.means_).all()
    assert (one.predict(ROWS.tolist()) == other.predict(ROWS)).all()


def test_data_frames_name_their_features() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS, columns=["salt", "heat", "depth"])
    model = GaussianMixture(**given()).fit(frame)
    assert list(model.feature_names_in_) == ["salt", "heat", "depth"]
    assert (model.predict(frame) == GaussianMixture(**given()).fit_predict(ROWS)).all()
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[["heat", "salt", "depth"]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(ROWS)
    assert not hasattr(model.fit(ROWS), "feature_names_in_")


def test_fit_predict_is_fit_then_predict() -> None:
    model = GaussianMixture(**given())
    labels = model.fit_predict(ROWS)
    assert (labels == model.predict(ROWS)).all()


def test_rows_that_are_drawn() -> None:
    model = GaussianMixture(**given()).fit(ROWS)
    rows, labels = model.sample(20_000, random_state=0)
    assert rows.shape == (20_000, 3)
    assert (np.diff(labels) >= 0).all()
    assert_allclose(np.bincount(labels) / 20_000, model.weights_, atol=0.02)
    for j in range(3):
        assert_allclose(rows[labels == j].mean(axis=0), model.means_[j], atol=0.1)
        assert_allclose(np.cov(rows[labels == j].T), model.covariances_[j], atol=0.15)
    with pytest.raises(ValueError, match="Invalid value for 'n_samples': 0 "):
        model.sample(0)


@pytest.mark.parametrize("name", STRUCTURES)
def test_each_structure_can_be_drawn_from(name: str) -> None:
    model = GaussianMixture(**given(name)).fit(ROWS)
    rows, _ = model.sample(4000)
    assert model.score(rows) == pytest.approx(model.score(ROWS), abs=0.3)


def test_drawing_twice_gives_other_rows() -> None:
    # scikit-learn gives the same ones for an int random_state
    one, other = (GaussianMixture(**given(random_state=3)).fit(ROWS) for _ in range(2))
    first, second = one.sample(5)[0], one.sample(5)[0]
    assert not np.isclose(first, second).any()
    assert (other.sample(5)[0] == first).all()
    assert (other.sample(5)[0] == second).all()


def test_to_sklearn_and_back() -> None:
    model = GaussianMixture(**given(missing="drop")).fit(ROWS)
    theirs = model.to_sklearn()
    assert type(theirs) is sklearn_mixture.GaussianMixture
    assert_allclose(theirs.score_samples(ROWS), model.score_samples(ROWS), atol=1e-9)
    assert theirs.n_iter_ == model.n_iter_
    back = GaussianMixture.from_sklearn(theirs)
    for attribute in FITTED:
        assert (getattr(back, attribute) == getattr(model, attribute)).all()
    assert (back.predict(ROWS) == model.predict(ROWS)).all()
    assert back.outcome_ is model.outcome_
    assert back.bic(ROWS) == pytest.approx(model.bic(ROWS), rel=1e-12)


def test_clone_params_and_pickle() -> None:
    model = GaussianMixture(**given(missing="drop", degenerate="drop")).fit(ROWS)
    twin = clone(model)
    assert twin.get_params()["missing"] == "drop"
    assert not hasattr(twin, "means_")
    assert twin.set_params(n_components=2).n_components == 2
    copy = pickle.loads(pickle.dumps(model))
    assert (copy.score_samples(ROWS) == model.score_samples(ROWS)).all()
    assert copy.history_ == model.history_


def test_the_fitted_attributes_alone_are_the_model() -> None:
    model = GaussianMixture(**given()).fit(ROWS)
    fresh = GaussianMixture(3)
    for attribute in (*FITTED, "converged_", "n_features_in_"):
        setattr(fresh, attribute, getattr(model, attribute))
    assert_allclose(fresh.score_samples(ROWS), model.score_samples(ROWS), atol=1e-10)


def test_verbose_prints_in_the_words_of_scikit_learn(capsys: pytest.CaptureFixture[str]) -> None:
    GaussianMixture(**given(max_iter=40, tol=1e-6, verbose=1, verbose_interval=2)).fit(ROWS)
    text = capsys.readouterr().out
    assert text.startswith("Initialization")
    assert "Iteration 2" in text
    assert "Iteration 3" not in text


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score_samples", "score", "bic"])
def test_not_fitted_yet(method: str) -> None:
    with pytest.raises(NotFittedError, match="This GaussianMixture instance is not fitted yet"):
        getattr(GaussianMixture(), method)(ROWS)


@pytest.mark.parametrize(
    "options",
    [
        {"n_components": 0},
        {"n_components": 1.5},
        {"tol": -1.0},
        {"reg_covar": -1.0},
        {"max_iter": -1},
        {"n_init": 0},
        {"covariance_type": "bad"},
        {"init_params": "bad"},
        {"missing": "bad"},
        {"degenerate": "bad"},
        {"on_bad_chunk": "bad"},
    ],
    ids=str,
)
def test_bad_parameters(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(InvalidParameterError, match=f"The '{name}' parameter of GaussianMixture"):
        GaussianMixture(**options).fit(ROWS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"weights_init": [0.5, 0.5]},
            r"'weights' should have the shape of \(3,\), but got \(2,\)",
        ),
        ({"weights_init": [0.5, 0.5, 0.5]}, "'weights' should be normalized"),
        ({"weights_init": [-0.5, 0.5, 1.0]}, r"'weights' should be in the range \[0, 1\]"),
        ({"means_init": np.ones((2, 3))}, r"'means' should have the shape of \(3, 3\)"),
        (
            {"precisions_init": np.ones((3, 3))},
            r"'full precision' should have the shape of \(3, 3, 3",
        ),
        ({"precisions_init": -np.ones((3, 3, 3))}, "should be symmetric, positive-definite"),
    ],
)
def test_bad_starts(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianMixture(3, **options).fit(ROWS)
