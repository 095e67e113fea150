"""PPCA: published optima, scikit-learn's PCA, what follows from a fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import subspace_angles
from scipy.stats import multivariate_normal
from sklearn.datasets import load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import dask_em
from dask_em import PPCA, Outcome

IRIS = load_iris().data
WINE = load_wine().data
RNG = np.random.default_rng(0)
LOADINGS = RNG.normal(size=(9, 3)) * [3, 2, 1]
ROWS = RNG.normal(size=(700, 3)) @ LOADINGS.T + 0.5 * RNG.normal(size=(700, 9)) + 10


@pytest.mark.parametrize(
    ("rows", "q", "noise", "total"),
    [
        (IRIS, 1, 0.11413908, -470.669458),
        (IRIS, 2, 0.05068215, -404.962780),
        (WINE, 2, 1.55306269, -5195.745706),
    ],
)
def test_published_optima(rows: Any, q: int, noise: float, total: float) -> None:
    found = PPCA(q).fit(rows)
    assert_allclose(found.noise_variance_, noise, rtol=0, atol=5e-9)
    assert_allclose(found.score(rows) * len(rows), total, rtol=0, atol=5e-7)
    assert_allclose(found.score_samples(rows).sum(), total, rtol=0, atol=5e-7)
    (record,) = found.history_
    assert_allclose(record.objective * len(rows), total, rtol=0, atol=5e-7)
    assert (record.step, record.gap, found.n_iter_) == ("closed", 0.0, 1)
    assert found.converged_
    assert found.outcome_ is Outcome.CONVERGED


@pytest.mark.parametrize("q", [1, 3, 8])
def test_agrees_with_scikit_learn(q: int) -> None:
    found, theirs = PPCA(q).fit(ROWS), PCA(q).fit(ROWS)
    shrunk = (len(ROWS) - 1) / len(ROWS)
    assert subspace_angles(found.components_.T, theirs.components_.T).max() < 1e-6
    assert_allclose(np.abs((found.components_ * theirs.components_).sum(axis=1)), 1, atol=1e-10)
    assert_allclose(found.components_ @ found.components_.T, np.eye(q), atol=1e-12)
    assert_allclose(found.mean_, theirs.mean_)
    assert_allclose(found.explained_variance_, theirs.explained_variance_ * shrunk)
    assert_allclose(found.explained_variance_ratio_, theirs.explained_variance_ratio_)
    assert_allclose(found.noise_variance_, theirs.noise_variance_ * shrunk)
    assert_allclose(found.get_covariance(), theirs.get_covariance() * shrunk, atol=1e-10)
    assert_allclose(found.get_precision() @ found.get_covariance(), np.eye(9), atol=1e-9)
    # the posterior mean is the projection in units of the latent variable, shrunk by the noise
    variance, noise = found.explained_variance_, found.noise_variance_
    signs = np.sign((found.components_ * theirs.components_).sum(axis=1))
    expected = theirs.transform(ROWS) * signs * np.sqrt(variance - noise) / variance
    assert_allclose(found.transform(ROWS), expected, atol=1e-9)
    # scikit-learn's density has the variances divided by n - 1
    density = multivariate_normal(theirs.mean_, theirs.get_covariance() * shrunk)
    assert_allclose(found.score_samples(ROWS), density.logpdf(ROWS), rtol=1e-9)
    assert found.score(ROWS) > theirs.score(ROWS)


def test_signs_are_fixed() -> None:
    for rows in (ROWS, -ROWS, ROWS[::-1]):
        axes = PPCA(3).fit(rows).components_
        assert (axes[np.arange(3), np.abs(axes).argmax(axis=1)] > 0).all()


def test_loadings_are_the_axes_scaled() -> None:
    found = PPCA(3).fit(ROWS)
    lengths = np.sqrt(found.explained_variance_ - found.noise_variance_)
    assert_allclose(found.loadings_, found.components_.T * lengths, atol=1e-12)
    assert_allclose(
        found.get_covariance(),
        found.loadings_ @ found.loadings_.T + found.noise_variance_ * np.eye(9),
    )


def test_rotation_is_a_matter_of_taste() -> None:
    options: dict[str, Any] = {"algorithm": "em", "random_state": 0, "tol": 1e-10, "max_iter": 5000}
    turned = PPCA(3, **options).fit(ROWS)
    left = PPCA(3, rotation=False, **options).fit(ROWS)
    assert_allclose(left.components_, turned.components_, atol=1e-12)
    assert_allclose(left.get_covariance(), turned.get_covariance())
    products = turned.loadings_.T @ turned.loadings_
    assert_allclose(products, np.diag(np.diag(products)), atol=1e-9)
    assert np.abs(np.triu(left.loadings_.T @ left.loadings_, 1)).max() > 0.1
    assert_allclose(
        left.inverse_transform(left.transform(ROWS)),
        turned.inverse_transform(turned.transform(ROWS)),
    )


def test_textbook_em_ascends_to_the_closed_form() -> None:
    options: dict[str, Any] = {"random_state": 0, "tol": 1e-12, "max_iter": 5000}
    found = PPCA(3, algorithm="em", **options).fit(ROWS)
    objectives = [one.objective for one in found.history_ if one.objective is not None]
    assert len(objectives) == found.n_iter_ > 5
    assert np.diff(objectives).min() > -1e-12
    best = PPCA(3).fit(ROWS)
    assert found.score(ROWS) == pytest.approx(best.score(ROWS), abs=1e-8)
    assert subspace_angles(found.components_.T, best.components_.T).max() < 1e-3


def test_blocks_of_directions_lead_to_the_closed_form() -> None:
    found = PPCA(3, solver="em", init_sample=100, tol_gap=1e-10, random_state=0).fit(ROWS)
    assert {one.step for one in found.history_} <= {None, "start", "ritz"}
    assert 2 <= found.n_iter_ <= 6
    best = PPCA(3).fit(ROWS)
    assert found.score(ROWS) == pytest.approx(best.score(ROWS), abs=1e-8)
    assert subspace_angles(found.components_.T, best.components_.T).max() < 1e-3


def test_many_features_are_not_multiplied_with_each_other() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 2001))
    rows[:, ::2] += 3 * np.random.default_rng(1).normal(size=(40, 1))
    assert PPCA(1).fit(rows).history_[-1].step != "closed"
    assert PPCA(1).fit(rows[:, :2000]).history_[-1].step == "closed"
    assert PPCA(1, solver="gram").fit(rows).history_[-1].step == "closed"


def test_how_many_dimensions() -> None:
    values = np.linalg.eigvalsh(np.cov(ROWS, rowvar=False))[::-1]
    shares = np.cumsum(values) / values.sum()
    for q in range(1, 9):
        assert PPCA(float(shares[q - 1]) - 1e-9).fit(ROWS).n_components_ == q
    assert PPCA("bic").fit(ROWS).n_components_ == 3
    assert PPCA("bic", max_iter=0).fit(ROWS).n_components_ == 3
    bics = [PPCA(q).fit(ROWS).bic(ROWS) for q in range(1, 9)]
    assert int(np.argmin(bics)) + 1 == 3
    assert PPCA().fit(ROWS).n_components_ == 8
    assert len(PPCA("bic").fit(ROWS).history_) == 1


def test_criteria() -> None:
    found = PPCA(3).fit(ROWS)
    free = 9 + 9 * 3 - 3 + 1
    total = found.score(ROWS) * len(ROWS)
    assert found.bic(ROWS) == pytest.approx(-2 * total + free * np.log(len(ROWS)))
    assert found.aic(ROWS) == pytest.approx(-2 * total + 2 * free)


def test_there_and_back() -> None:
    found = PPCA(3).fit(ROWS)
    scores, covariance = found.transform(ROWS, return_cov=True)
    inner = found.loadings_.T @ found.loadings_ + found.noise_variance_ * np.eye(3)
    assert_allclose(covariance, found.noise_variance_ * np.linalg.inv(inner), atol=1e-12)
    assert_allclose(found.inverse_transform(scores), scores @ found.loadings_.T + found.mean_)
    assert_array_equal(found.fit_transform(ROWS), scores)
    assert_array_equal(found.fill(ROWS), ROWS)
    with pytest.raises(dask_em.SchemaError, match=r"shape \(700, 9\), but the model has 3 latent"):
        found.inverse_transform(ROWS)


def test_drawn_rows_have_the_density() -> None:
    found = PPCA(3, random_state=0).fit(ROWS)
    rows = found.sample(200_000, random_state=1)
    assert rows.shape == (200_000, 9)
    assert_allclose(np.cov(rows, rowvar=False), found.get_covariance(), atol=0.2)
    assert_array_equal(found.sample(3, random_state=1), found.sample(3, random_state=1))
    assert not np.array_equal(found.sample(3), found.sample(3))
    with pytest.raises(ValueError, match="n_samples=0; it must be 1 or more"):
        found.sample(0)


@pytest.mark.parametrize("q", [1, 3])
def test_a_weight_is_repetition(q: int) -> None:
    counts = RNG.integers(0, 4, len(ROWS))
    one = PPCA(q).fit(ROWS, sample_weight=counts)
    other = PPCA(q).fit(np.repeat(ROWS, counts, axis=0))
    assert_allclose(one.loadings_, other.loadings_, atol=1e-10)
    assert_allclose(one.noise_variance_, other.noise_variance_)
    assert one.bic(ROWS, counts) == pytest.approx(other.bic(np.repeat(ROWS, counts, axis=0)))


def test_more_features_than_rows() -> None:
    rows = ROWS[:6]
    found = PPCA(2).fit(rows)
    theirs = np.linalg.svd(rows - rows.mean(axis=0))[2][:2]
    assert subspace_angles(found.components_.T, theirs.T).max() < 1e-6
    whole = PPCA().fit(rows)
    assert whole.n_components_ == 4, "five dimensions would leave no noise"
    with pytest.warns(
        UserWarning,
        match="n_components=5 leaves less than 1e-10 .* floor of .*; use fewer components, or",
    ) as told:
        floored = PPCA(5).fit(rows)
    assert [one.filename for one in told] == [__file__]
    assert floored.noise_variance_ > 0
    assert np.isfinite(floored.score(rows))


def test_a_constant_feature() -> None:
    rows = np.column_stack([ROWS, np.full(len(ROWS), 7.0)])
    found = PPCA(3).fit(rows)
    assert found.mean_[9] == pytest.approx(7)
    assert_allclose(found.components_[:, 9], 0, atol=1e-8)
    assert np.isfinite(found.score_samples(rows)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.float64])
def test_dtypes(dtype: Any) -> None:
    rows = (ROWS * 10).astype(dtype)
    found = PPCA(3).fit(rows)
    kept = np.float32 if dtype == np.float32 else np.float64
    for name in ("mean_", "components_", "loadings_", "explained_variance_"):
        assert getattr(found, name).dtype == kept, name
    assert found.transform(rows).dtype == kept
    assert found.score_samples(rows).dtype == kept
    exact = PPCA(3).fit(rows.astype(np.float64))
    assert_allclose(found.noise_variance_, exact.noise_variance_, rtol=1e-4)
    assert_allclose(found.score(rows), exact.score(rows), rtol=2e-6)


def test_attributes_may_be_changed() -> None:
    found = PPCA(3).fit(ROWS)
    before = found.score(ROWS)
    found.mean_ = found.mean_ + 1
    assert found.score(ROWS) < before
    assert_allclose(found.inverse_transform(np.zeros((1, 3)))[0], ROWS.mean(axis=0) + 1)


def test_names_of_features() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS, columns=[f"f{i}" for i in range(9)])
    found = PPCA(2).set_output(transform="pandas").fit(frame)
    assert list(found.get_feature_names_out()) == ["ppca0", "ppca1"]
    scores = found.transform(frame)
    assert list(scores.columns) == ["ppca0", "ppca1"]
    both, covariance = found.transform(frame, return_cov=True)
    assert list(both.columns) == ["ppca0", "ppca1"]
    assert covariance.shape == (2, 2)
    with pytest.raises(ValueError, match="feature names should match"):
        found.transform(frame.rename(columns={"f0": "other"}))
    frame["f4"] = np.nan
    with pytest.raises(dask_em.DataError, match="1 of 9 features .* never observed: f4; leave"):
        PPCA(2, missing="model").fit(frame)


def test_in_a_pipeline() -> None:
    pipeline = make_pipeline(StandardScaler(), PPCA(2)).fit(WINE)
    assert pipeline.transform(WINE).shape == (178, 2)
    assert pipeline.score(WINE) == pytest.approx(-15.2, abs=2)


@pytest.mark.parametrize(
    ("options", "rows", "message"),
    [
        ({"n_components": 9}, ROWS, "n_components=9 latent dimensions for 9 features; give 1 to 8"),
        ({"n_components": 5}, ROWS[:5], "5 latent dimensions for n_samples = 5 rows; .* most 4"),
        ({}, ROWS[:, :1], "needs 2 features or more, but there are n_features = 1"),
        ({"n_components": 1.5}, ROWS, r"a float in the range \(0.0, 1.0\)"),
        ({"n_components": "most"}, ROWS, "a str among {'bic'}"),
        ({"n_components": 0}, ROWS, r"an int in the range \[1, inf\)"),
        ({"solver": "svd"}, ROWS, "'solver' parameter of PPCA"),
        ({"missing": "model", "solver": "gram"}, ROWS, 'needs whole rows, but missing="model"'),
        ({"missing": "model", "n_components": "bic"}, ROWS, "n_components='bic' .*; give an int"),
        ({"algorithm": "em", "n_components": 0.5}, ROWS, '=0.5 .* algorithm="em" .* give an int'),
        ({}, np.ones((20, 3)), "all rows are equal"),
        ({}, np.where(ROWS > 15, np.inf, ROWS), "infinity"),
        ({}, np.where(ROWS > 15, np.nan, ROWS), 'NaN: .* rows of .*"drop".* missing="model"'),
        ({"missing": "drop"}, np.full((20, 3), np.nan), "all 20 rows hold NaN and were dropped"),
        ({"missing": "model"}, np.full((20, 3), np.nan), "3 of 3 features .* never observed"),
        ({}, ROWS * 1e200, "too large to be squared"),
        ({"n_components": 2}, (ROWS * 1e-42).astype("f4"), "too small to be squared; .* rescale"),
        ({"n_components": 2, "solver": "em"}, (ROWS * 1e-42).astype("f4"), "too small to be"),
        (
            {"solver": "gram", "algorithm": "em"},
            ROWS,
            'solver="gram" .* algorithm="em" iterates; leave',
        ),
    ],
)
def test_refused(options: dict[str, Any], rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPCA(**options).fit(rows)


@pytest.mark.parametrize("weight", [1e-44, 1e40])
@pytest.mark.parametrize("solver", ["gram", "em"])
def test_weights_may_be_beyond_the_squares_of_float32(solver: str, weight: float) -> None:
    rows, weights = ROWS.astype("f4"), np.full(len(ROWS), weight)
    found = PPCA(2, solver=solver, random_state=0).fit(rows, sample_weight=weights)
    expected = PPCA(2).fit(rows).noise_variance_
    assert found.noise_variance_ == pytest.approx(expected, rel=1e-3)
    assert found.score(rows, weights) == pytest.approx(found.score(rows), rel=1e-6)


def test_a_fit_that_fails_leaves_the_last_one() -> None:
    found = PPCA(2).fit(ROWS)
    with pytest.raises(ValueError, match="infinity"):
        found.fit(np.full((5, 4), np.inf))
    assert found.n_features_in_ == 9
    assert found.transform(ROWS).shape == (700, 2)


def test_iterations_that_do_not_suffice_are_told() -> None:
    from sklearn.exceptions import ConvergenceWarning

    with pytest.warns(ConvergenceWarning, match="within max_iter=2 passes; raise max_iter") as told:
        found = PPCA(3, algorithm="em", max_iter=2).fit(ROWS)
    assert [one.filename for one in told] == [__file__]
    assert not found.converged_
    assert found.outcome_ is Outcome.ITERATION_LIMIT
