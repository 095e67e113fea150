"""What probabilistic PCA says of single rows, against conditional normals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal

from dask_em.core.records import Array
from dask_em.models.ppca_model import draw
from dask_em.models.ppca_parameters import PPCAParameters
from dask_em.models.ppca_posterior import filled, log_density, posterior

NAN = np.nan
RNG = np.random.default_rng(0)
TRUTH = PPCAParameters(RNG.normal(size=6) * 3, RNG.normal(size=(6, 2)), 0.3)
COMPLETE = draw(500, TRUTH, RNG)
GAPPY = np.where(RNG.random(COMPLETE.shape) < 0.3, NAN, COMPLETE)
GAPPY[17] = NAN


def conditional(row: Array, parameters: PPCAParameters) -> tuple[Array, Array, Array, Array]:
    """Latent mean and covariance, and the row filled with its deviations, by dense algebra."""
    W, C, mean = parameters.loadings, parameters.covariance, parameters.mean
    o, gap = ~np.isnan(row), np.isnan(row)
    inverse = np.linalg.inv(C[np.ix_(o, o)])
    apart = inverse @ (row[o] - mean[o])
    full, deviations = row.copy(), np.zeros(len(row))
    full[gap] = mean[gap] + C[np.ix_(gap, o)] @ apart
    left = C[np.ix_(gap, gap)] - C[np.ix_(gap, o)] @ inverse @ C[np.ix_(o, gap)]
    deviations[gap] = np.sqrt(np.diag(left))
    return W[o].T @ apart, np.eye(W.shape[1]) - W[o].T @ inverse @ W[o], full, deviations


def test_rows_with_gaps() -> None:
    means, covariances = posterior(GAPPY, TRUTH, covariances=True)
    full, deviations = filled(GAPPY, TRUTH)
    density = log_density(GAPPY, TRUTH)
    assert covariances is not None
    for i, row in enumerate(GAPPY):
        mean, covariance, expected, spread = conditional(row, TRUTH)
        assert_allclose(means[i], mean, atol=1e-12)
        assert_allclose(covariances[i], covariance, atol=1e-12)
        assert_allclose(full[i], expected, atol=1e-12)
        assert_allclose(deviations[i], spread, atol=1e-12)
        o = ~np.isnan(row)
        if o.any():
            normal: Any = multivariate_normal(TRUTH.mean[o], TRUTH.covariance[np.ix_(o, o)])
            assert_allclose(density[i], normal.logpdf(row[o]), atol=1e-11)
    assert (full[~np.isnan(GAPPY)] == GAPPY[~np.isnan(GAPPY)]).all()


def test_nothing_observed_leaves_the_prior() -> None:
    nothing = np.full((2, 6), NAN)
    means, covariances = posterior(nothing, TRUTH, covariances=True)
    assert not means.any()
    assert_allclose(covariances, np.broadcast_to(np.eye(2), (2, 2, 2)), atol=1e-14)
    full, deviations = filled(nothing, TRUTH)
    assert_allclose(full, np.broadcast_to(TRUTH.mean, (2, 6)), atol=1e-14)
    assert_allclose(deviations[0] ** 2, np.diag(TRUTH.covariance), rtol=1e-13)
    assert_allclose(log_density(nothing, TRUTH), 0, atol=1e-13)


def test_complete_rows_share_a_covariance() -> None:
    means, covariance = posterior(COMPLETE, TRUTH, covariances=True)
    assert covariance is not None
    assert covariance.shape == (2, 2)
    assert_allclose(covariance, conditional(COMPLETE[0], TRUTH)[1], atol=1e-13)
    assert_allclose(means[3], conditional(COMPLETE[3], TRUTH)[0], atol=1e-13)
    assert posterior(COMPLETE, TRUTH)[1] is None
    full, deviations = filled(COMPLETE, TRUTH)
    assert (full == COMPLETE).all()
    assert not deviations.any()
    expected = multivariate_normal(TRUTH.mean, TRUTH.covariance).logpdf(COMPLETE)
    assert_allclose(log_density(COMPLETE, TRUTH), expected, atol=1e-11)


def test_the_hidden_lie_where_they_are_expected() -> None:
    full, deviations = filled(GAPPY, TRUTH)
    gaps = deviations > 0
    assert (gaps == np.isnan(GAPPY)).all()
    inside = np.abs(full - COMPLETE)[gaps] < 1.6449 * deviations[gaps]
    assert abs(inside.mean() - 0.9) < 0.03


@pytest.mark.parametrize("values", [GAPPY, COMPLETE, GAPPY[:0]])
def test_float32_rows_stay_so(values: Array) -> None:
    full, deviations = filled(values.astype(np.float32), TRUTH)
    assert full.dtype == deviations.dtype == np.float32
    assert_allclose(full, filled(values, TRUTH)[0], rtol=1e-5, atol=1e-5)
    assert posterior(values.astype(np.float32), TRUTH)[0].dtype == np.float64


def test_the_input_is_not_written_to() -> None:
    values = GAPPY.copy()
    filled(values, TRUTH), posterior(values, TRUTH, covariances=True), log_density(values, TRUTH)
    assert np.array_equal(values, GAPPY, equal_nan=True)


def test_without_latent_dimensions_the_mean_is_all_there_is() -> None:
    sphere = PPCAParameters(TRUTH.mean, np.zeros((6, 0)), 0.3)
    full, deviations = filled(GAPPY, sphere)
    gaps = np.isnan(GAPPY)
    assert_allclose(full[gaps], np.broadcast_to(TRUTH.mean, GAPPY.shape)[gaps])
    assert_allclose(deviations[gaps], np.sqrt(0.3))
    assert posterior(GAPPY, sphere)[0].shape == (500, 0)
    expected = multivariate_normal(sphere.mean, sphere.covariance).logpdf(COMPLETE)
    assert_allclose(log_density(COMPLETE, sphere), expected, atol=1e-11)


def test_infinite_values_have_no_density() -> None:
    values = GAPPY.copy()
    values[3] = COMPLETE[3]
    values[3, 2] = np.inf
    found = log_density(values, TRUTH)
    assert found[3] == -np.inf
    assert_allclose(np.delete(found, 3), np.delete(log_density(GAPPY, TRUTH), 3), atol=1e-12)


def test_noise_far_below_the_data_loses_no_digits() -> None:
    quiet = PPCAParameters(TRUTH.mean, TRUTH.loadings * 1e3, 1e-6)
    rows = draw(200, quiet, np.random.default_rng(1))
    found = log_density(rows, quiet)
    centred = rows - quiet.mean
    q, _ = np.linalg.qr(quiet.loadings)
    outside = centred - (centred @ q) @ q.T
    inner = quiet.loadings.T @ q
    within = np.linalg.solve(inner.T @ inner + 1e-6 * np.eye(2), (centred @ q).T).T
    distance = (outside**2).sum(axis=1) / 1e-6 + (within * (centred @ q)).sum(axis=1)
    assert_allclose(
        found, -0.5 * (quiet.log_determinant + 6 * np.log(2 * np.pi) + distance), rtol=1e-6
    )
