"""PPCA of rows with gaps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import subspace_angles
from scipy.stats import multivariate_normal

import dask_em
from dask_em import PPCA

RNG = np.random.default_rng(3)
LOADINGS = RNG.normal(size=(8, 2)) * [3, 1.5]
WHOLE = RNG.normal(size=(4000, 2)) @ LOADINGS.T + 0.5 * RNG.normal(size=(4000, 8)) + 10


def with_gaps(fraction: float, rows: Any = WHOLE) -> Any:
    return np.where(RNG.random(rows.shape) < fraction, np.nan, rows)


GAPS = with_gaps(0.3)
GAPS[::100] = np.nan
EMPTY = np.isnan(GAPS).all(axis=1)


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.6])
def test_planted_dimensions_are_found(fraction: float) -> None:
    rows = with_gaps(fraction)
    found = PPCA(2, missing="model", random_state=0).fit(rows)
    assert found.converged_
    assert subspace_angles(found.components_.T, LOADINGS).max() < 0.05
    assert found.noise_variance_ == pytest.approx(0.25, rel=0.05)
    assert_allclose(found.mean_, 10, atol=0.3)
    filled, spread = found.fill(rows, return_std=True)
    gaps = np.isnan(rows)
    assert_array_equal(filled[~gaps], rows[~gaps])
    assert (spread[~gaps] == 0).all()
    misses = (filled - WHOLE)[gaps] / spread[gaps]
    assert np.sqrt((misses**2).mean()) == pytest.approx(1, abs=0.05)


def test_without_gaps_it_is_the_closed_form() -> None:
    one, other = PPCA(2).fit(WHOLE), PPCA(2, missing="model").fit(WHOLE)
    assert_allclose(other.get_covariance(), one.get_covariance(), rtol=1e-6, atol=1e-6)
    assert other.score(WHOLE) == pytest.approx(one.score(WHOLE), abs=1e-9)


def test_densities_and_scores_are_those_of_what_is_observed() -> None:
    found = PPCA(2, missing="model").fit(GAPS)
    scores, covariances = found.transform(GAPS, return_cov=True)
    density = found.score_samples(GAPS)
    assert covariances.shape == (4000, 2, 2)
    for row in (1, 7, 50):
        known = ~np.isnan(GAPS[row])
        W, centred = found.loadings_[known], (GAPS[row] - found.mean_)[known]
        inner = W.T @ W + found.noise_variance_ * np.eye(2)
        assert_allclose(scores[row], np.linalg.solve(inner, W.T @ centred), atol=1e-10)
        assert_allclose(covariances[row], found.noise_variance_ * np.linalg.inv(inner), atol=1e-10)
        seen = multivariate_normal(found.mean_[known], found.get_covariance()[np.ix_(known, known)])
        assert density[row] == pytest.approx(seen.logpdf(GAPS[row, known]))
    assert found.score(GAPS) == pytest.approx(density.mean())


def test_rows_of_which_nothing_is_observed_get_the_prior() -> None:
    found = PPCA(2, missing="model").fit(GAPS)
    assert {record.empty for record in found.history_} == {int(EMPTY.sum())}
    scores, covariances = found.transform(GAPS[EMPTY], return_cov=True)
    assert (scores == 0).all()
    assert_allclose(covariances, np.broadcast_to(np.eye(2), covariances.shape), atol=1e-12)
    filled, spread = found.fill(GAPS[EMPTY], return_std=True)
    assert_allclose(filled, np.broadcast_to(found.mean_, filled.shape))
    assert_allclose(spread**2, np.broadcast_to(np.diag(found.get_covariance()), spread.shape))
    assert (found.score_samples(GAPS[EMPTY]) == 0).all()


def test_rows_that_are_left_out() -> None:
    some = ~np.isnan(GAPS).any(axis=1)
    found, rest = PPCA(2, missing="drop").fit(GAPS), PPCA(2).fit(GAPS[some])
    assert_allclose(found.loadings_, rest.loadings_, atol=1e-10)
    assert found.history_[-1].dropped == int((~some).sum())
    assert np.isnan(found.transform(GAPS)[~some]).all()
    assert np.isnan(found.score_samples(GAPS)[~some]).all()
    assert_allclose(found.transform(GAPS)[some], rest.transform(GAPS[some]), atol=1e-10)
    assert found.score(GAPS) == pytest.approx(rest.score(GAPS[some]))
    assert not np.isnan(found.fill(GAPS)).any(), "filling is what gaps are for"


@pytest.mark.parametrize("container", [np.asarray, da.from_array])
def test_gaps_that_come_after_the_fit(container: Any) -> None:
    found = PPCA(2).fit(WHOLE)
    for method in ("transform", "score_samples", "score"):
        with pytest.raises(ValueError, match='NaN: .*"drop" .*, or missing="model"'):
            np.asarray(getattr(found, method)(container(GAPS)))
    assert not np.isnan(np.asarray(found.fill(container(GAPS)))).any()
    with pytest.raises(ValueError, match="infinity"):
        np.asarray(found.fill(container(np.where(np.isnan(GAPS), np.inf, GAPS))))
    found.set_params(missing="model")
    assert np.isfinite(np.asarray(found.transform(container(GAPS)))).all()


def test_a_weight_is_repetition() -> None:
    counts = RNG.integers(0, 3, len(GAPS))
    repeated = np.repeat(GAPS, counts, axis=0)
    options: dict[str, Any] = {"missing": "model", "tol": 1e-11}
    one = PPCA(2, **options).fit(GAPS, sample_weight=counts)
    other = PPCA(2, **options).fit(repeated)
    assert_allclose(one.get_covariance(), other.get_covariance(), rtol=1e-6)
    assert one.score(GAPS, sample_weight=counts) == pytest.approx(other.score(repeated))


def test_a_constant_feature_and_as_many_dimensions_as_there_can_be() -> None:
    rows = np.column_stack([GAPS[:500, :4], np.full(500, 7.0)])
    found = PPCA(2, missing="model").fit(rows)
    assert found.mean_[4] == pytest.approx(7, abs=1e-6)
    most = PPCA(4, missing="model", tol=1e-4).fit(rows[:, :5] + 0.1 * RNG.normal(size=(500, 5)))
    assert most.n_components_ == 4
    assert np.isfinite(most.score(rows))


def test_more_features_than_rows() -> None:
    rows = with_gaps(0.1, WHOLE[:7])
    found = PPCA(1, missing="model").fit(rows)
    assert np.isfinite(found.fill(rows)).all()


def test_float32_rows() -> None:
    single = GAPS.astype(np.float32)
    found, exact = PPCA(2, missing="model").fit(single), PPCA(2, missing="model").fit(GAPS)
    assert found.loadings_.dtype == found.fill(single).dtype == np.float32
    assert_allclose(found.loadings_, exact.loadings_, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("algorithm", ["auto", "em", "accelerated"])
def test_a_fit_goes_on_from_its_checkpoint(tmp_path: Path, algorithm: str) -> None:
    options: dict[str, Any] = {
        "missing": "model", "algorithm": algorithm, "random_state": 0, "tol": 1e-9,
    }  # fmt: skip
    rows = da.from_array(GAPS, chunks=(500, 8))
    whole = PPCA(2, **options).fit(rows)
    with pytest.warns(UserWarning, match="max_iter=3"):
        PPCA(2, max_iter=3, **options).fit(rows, checkpoint=tmp_path / "kept")
    again = PPCA(2, **options).fit(rows, checkpoint=tmp_path / "kept")
    assert again._parameters.equals(whole._parameters)
    assert again.n_iter_ == whole.n_iter_ > 3
    with pytest.raises(dask_em.ArchiveError, match="another fit"):
        PPCA(3, **options).fit(rows, checkpoint=tmp_path / "kept")
