"""Each structure's shortcuts against dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import block_diag

from dask_em.core.records import Array
from dask_em.models.covariance import STRUCTURES, Structure
from tests.models.textbook import random_parameters

K, D = 3, 4
SCALE = np.array([0.5, 2.0, 4.0, 1.0])


def dense(structure: Structure, covariances: Array, d: int = D) -> Array:
    return np.stack([structure.dense(covariances, j, d) for j in range(K)])


@pytest.fixture(params=STRUCTURES)
def structure(request: pytest.FixtureRequest) -> Structure:
    return STRUCTURES[request.param]


@pytest.fixture
def covariances(structure: Structure) -> Array:
    parameters = random_parameters(np.random.default_rng(0), K, D, structure)
    found: Array = parameters.components.covariances  # type: ignore[attr-defined]
    return found


@pytest.fixture
def means() -> Array:
    return np.random.default_rng(1).normal(size=(K, D))


def test_factors_are_those_of_the_precisions(structure: Structure, covariances: Array) -> None:
    factors = structure.factor(covariances)
    assert factors.shape == covariances.shape == structure.shape(K, D)
    precisions = structure.precisions(factors)
    identity = dense(structure, precisions) @ dense(structure, covariances)
    assert_allclose(identity, np.broadcast_to(np.eye(D), (K, D, D)), atol=1e-12)
    if factors.shape[-2:] == (D, D):
        assert_allclose(factors, np.triu(factors))
    assert_allclose(structure.covariances(factors), covariances, rtol=1e-12)
    assert_allclose(structure.factor_of_precisions(precisions), factors, rtol=1e-10, atol=1e-14)


def test_half_log_det(structure: Structure, covariances: Array) -> None:
    expected = -0.5 * np.linalg.slogdet(dense(structure, covariances))[1]
    found = structure.half_log_det(structure.factor(covariances), D)
    assert_allclose(np.broadcast_to(found, K), expected)


def test_whitening(structure: Structure, covariances: Array, means: Array) -> None:
    factors = structure.factor(covariances)
    white = structure.whiten(means, factors)
    solved = np.linalg.solve(dense(structure, covariances), means[:, :, None])[:, :, 0]
    assert_allclose((white**2).sum(axis=1), (means * solved).sum(axis=1))
    assert_allclose(structure.unwhiten(white, factors), solved)


def test_mahalanobis_lengths(structure: Structure, covariances: Array) -> None:
    rows = np.random.default_rng(2).normal(size=(50, D))
    factors = structure.factor(covariances)
    for j, one in enumerate(dense(structure, covariances)):
        expected = np.einsum("ij,ij->i", rows, np.linalg.solve(one, rows.T).T)
        assert_allclose(structure.centred(rows.copy(), factors, j), expected)


def test_scaling_and_inflating(structure: Structure, covariances: Array) -> None:
    scale = np.full(D, 4.0) if structure.isotropic else SCALE
    scaled = structure.scaled(covariances, scale)
    expected = dense(structure, covariances) * np.outer(scale, scale)
    assert_allclose(dense(structure, scaled), expected)
    factors = structure.factor(covariances)
    assert_allclose(structure.rescaled(factors, 1 / scale), structure.factor(scaled), rtol=1e-10)
    inflated = structure.inflated(covariances, np.full(D, 0.25))
    assert_allclose(dense(structure, inflated), dense(structure, covariances) + 0.25 * np.eye(D))


def test_smallest_eigenvalues(structure: Structure, covariances: Array) -> None:
    expected = np.linalg.eigvalsh(dense(structure, covariances))[:, 0]
    assert_allclose(structure.smallest(covariances, K), expected)


def test_eigenvalues_above_the_floor_stay(structure: Structure, covariances: Array) -> None:
    found, blamed = structure.floored(covariances, 1e-3)
    assert blamed == {}
    assert_allclose(found, covariances, rtol=0)


def test_eigenvalues_below_the_floor_are_raised(structure: Structure, covariances: Array) -> None:
    floor = 0.35
    found, blamed = structure.floored(covariances, floor)
    values = np.linalg.eigvalsh(dense(structure, found))
    expected = np.maximum(np.linalg.eigvalsh(dense(structure, covariances)), floor)
    assert_allclose(values, expected, rtol=1e-12)
    low = np.flatnonzero(np.linalg.eigvalsh(dense(structure, covariances))[:, 0] < floor)
    assert set(blamed) == ({0} if structure.shared and len(low) else set(low))
    assert all(0 <= feature < D for feature in blamed.values())


def test_moments_give_covariances(structure: Structure) -> None:
    rng = np.random.default_rng(3)
    rows, shares = rng.normal(size=(80, D)) + 1.0, rng.dirichlet(np.ones(K), 80)
    counts = shares.sum(axis=0)
    means = shares.T @ rows / counts[:, None]
    totals = np.zeros(structure.dense_shape(K, D))
    for j in range(K):
        structure.scatter(rows * np.sqrt(shares[:, j, None]), totals, j)
    second = structure.packed(totals)
    assert second.shape == structure.second_shape(K, D)
    found = structure.from_moments(counts, means, second)
    within = np.stack([np.cov(rows.T, aweights=shares[:, j], bias=True) for j in range(K)])
    expected = {
        "full": within,
        "tied": (counts[:, None, None] * within).sum(axis=0) / counts.sum(),
        "diag": np.diagonal(within, axis1=1, axis2=2),
        "spherical": np.trace(within, axis1=1, axis2=2) / D,
    }[structure.name]
    assert_allclose(found, expected, rtol=1e-10)


def test_free_parameters(structure: Structure) -> None:
    expected = {"full": 30, "tied": 10, "diag": 12, "spherical": 3}
    assert structure.n_free(K, D) == expected[structure.name]


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_covariance_that_is_not_positive_has_no_factor(name: str) -> None:
    structure = STRUCTURES[name]
    bad = {
        "full": block_diag(1.0, -1.0)[None],
        "tied": block_diag(1.0, -1.0),
        "diag": np.array([[1.0, 0.0]]),
        "spherical": np.array([-1.0]),
    }[name]
    with pytest.raises(np.linalg.LinAlgError):
        structure.factor(bad)
