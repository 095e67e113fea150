"""Where fits start."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng
from numpy.testing import assert_allclose
from sklearn.datasets import load_iris
from sklearn.metrics import adjusted_rand_score

from dask_em import GaussianMixture
from dask_em.core.block import Block
from dask_em.errors import DataError
from dask_em.models import seeding
from dask_em.models.covariance import STRUCTURES, Full
from dask_em.models.gaussian import Gaussian
from dask_em.models.mixture import Mixture
from dask_em.models.seeding import STARTS, Given, KMeans, RandomRows, Start, whitened

RNG = default_rng(3)
CENTRES = np.array([[0.0, 0.0, 0.0], [9.0, 0.0, 1.0], [0.0, 9.0, -1.0]])
ROWS = (CENTRES[:, None] + RNG.normal(size=(3, 80, 3))).reshape(-1, 3)
LABELS = np.repeat([0, 1, 2], 80)


def started(start: Start, block: Block, k: int = 3, seed: int = 0, name: str = "full") -> Any:
    model = Mixture(Gaussian(STRUCTURES[name]), k, start)
    return model, model.initialize(block, default_rng(seed))


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("start", STARTS)
def test_every_start_is_ready_for_an_e_step(start: str, name: str) -> None:
    model, parameters = started(STARTS[start], Block(ROWS), name=name)
    assert parameters.components.means.shape == (3, 3)
    assert parameters.components.covariances.shape == STRUCTURES[name].shape(3, 3)
    assert_allclose(parameters.weights.sum(), 1)
    assert np.isfinite(model.expect(Block(ROWS), parameters).log_likelihood)


@pytest.mark.parametrize("start", STARTS)
def test_chance_decides_and_nothing_else(start: str) -> None:
    _, one = started(STARTS[start], Block(ROWS), seed=4)
    _, same = started(STARTS[start], Block(ROWS), seed=4)
    _, other = started(STARTS[start], Block(ROWS), seed=5)
    assert one.equals(same)
    assert start == "kmeans" or not one.equals(other)


@pytest.mark.parametrize("start", STARTS)
def test_weights_of_zero_leave_rows_out(start: str) -> None:
    rng = default_rng(0)
    weights = rng.uniform(0.5, 2, len(ROWS))
    outliers = np.vstack([ROWS, rng.normal(size=(50, 3)) * 1e4])
    _, found = started(STARTS[start], Block(outliers, np.append(weights, np.zeros(50))))
    _, expected = started(STARTS[start], Block(ROWS, weights))
    assert found.equals(expected)


@pytest.mark.parametrize("start", ["kmeans", "k-means++"])
def test_clusters_far_apart_are_found_at_once(start: str) -> None:
    model, parameters = started(STARTS[start], Block(ROWS))
    shares, _ = model.posterior(Block(ROWS), parameters)
    assert adjusted_rand_score(LABELS, shares.argmax(axis=1)) > 0.95


def test_kmeans_starts_from_the_moments_of_its_clusters() -> None:
    _, parameters = started(KMeans(), Block(ROWS))
    order = np.argsort(parameters.components.means @ [1.0, 2.0, 0.0])
    for j, label in zip(order, (0, 1, 2), strict=True):
        rows = ROWS[label == LABELS]
        assert_allclose(parameters.components.means[j], rows.mean(axis=0))
        assert_allclose(parameters.components.covariances[j], np.cov(rows.T, bias=True))
        assert parameters.weights[j] == pytest.approx(1 / 3)


@pytest.mark.parametrize("start", STARTS)
def test_float32_samples_start_like_float64(start: str) -> None:
    single = ROWS.astype(np.float32)
    _, one = started(STARTS[start], Block(single))
    _, other = started(STARTS[start], Block(single.astype(np.float64)))
    assert one.equals(other)


def stretched() -> tuple[np.ndarray, np.ndarray]:
    """Two flat clusters side by side, in a feature space whose other direction is much longer."""
    rng = default_rng(0)
    rows = rng.normal(size=(600, 2)) * [40.0, 0.4]
    labels = np.repeat([0, 1], 300)
    rows[labels == 1, 1] += 4.0
    turn = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    return rows @ turn.T, labels


def test_elongated_clusters_are_not_cut_across() -> None:
    # scikit-learn issue #34842: k-means on the raw rows has an adjusted Rand index near 0
    from sklearn.cluster import KMeans as Clusters

    rows, labels = stretched()
    raw = Clusters(2, n_init=1, random_state=0).fit_predict(rows)
    assert adjusted_rand_score(labels, raw) < 0.1
    model, parameters = started(KMeans(), Block(rows), k=2)
    shares, _ = model.posterior(Block(rows), parameters)
    assert adjusted_rand_score(labels, shares.argmax(axis=1)) > 0.9
    assert adjusted_rand_score(labels, GaussianMixture(2, random_state=0).fit_predict(rows)) > 0.9


@pytest.mark.parametrize("weighted", [False, True])
def test_whitened_rows_have_unit_covariance(weighted: bool) -> None:
    rows = default_rng(0).normal(size=(500, 4)) @ default_rng(1).normal(size=(4, 4)) * 1e-8 + 5.0
    weights = default_rng(2).uniform(size=500) if weighted else None
    white = whitened(Block(rows, weights))
    assert_allclose(np.cov(white.T, aweights=weights, bias=True), np.eye(4), atol=1e-5)
    assert_allclose(np.average(white, axis=0, weights=weights), 0, atol=1e-4)


def test_directions_without_variance_are_left_out() -> None:
    flat = np.column_stack([ROWS, np.ones(len(ROWS)), ROWS[:, 0] - ROWS[:, 1]])
    assert whitened(Block(flat)).shape == ROWS.shape
    assert (whitened(Block(np.full((9, 2), 7.0))) == 0).all()
    _, parameters = started(KMeans(), Block(flat))
    assert np.isfinite(parameters.components.means).all()


def test_large_samples_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeding, "MOST_ROWS", 60)
    model, parameters = started(KMeans(), Block(ROWS))
    counts = parameters.weights * 60
    assert_allclose(counts, np.round(counts), rtol=1e-12)
    shares, _ = model.posterior(Block(ROWS), parameters)
    assert adjusted_rand_score(LABELS, shares.argmax(axis=1)) > 0.95


@pytest.mark.parametrize("start", STARTS)
def test_fewer_rows_than_components(start: str) -> None:
    message = "Expected n_samples >= n_components but got n_components = 3, n_samples = 2"
    with pytest.raises(DataError, match=message):
        started(STARTS[start], Block(ROWS[:2]))
    with pytest.raises(DataError, match=message):
        started(STARTS[start], Block(ROWS[:5], np.array([1.0, 0, 0, 2, 0])))


@pytest.mark.parametrize("start", STARTS)
def test_as_many_rows_as_components(start: str) -> None:
    model = GaussianMixture(4, init_params=start, random_state=0).fit(ROWS[::60])
    assert np.isfinite(model.means_).all()


@pytest.mark.parametrize("start", STARTS)
def test_a_single_feature(start: str) -> None:
    model = GaussianMixture(2, init_params=start, random_state=0, max_iter=200).fit(ROWS[:, :1])
    assert np.isfinite(model.lower_bounds_).all()


def test_given_arrays_are_taken_and_the_rest_is_found() -> None:
    block = Block(ROWS)
    _, usual = started(RandomRows(), block)
    _, found = started(Given(RandomRows(), means=CENTRES), block)
    assert (found.components.means == CENTRES).all()
    assert_allclose(found.components.covariances, usual.components.covariances)
    assert_allclose(found.weights, usual.weights)
    _, found = started(Given(RandomRows(), weights=np.array([0.5, 0.25, 0.25])), block)
    assert found.weights.tolist() == [0.5, 0.25, 0.25]
    assert found.components.equals(usual.components)


@pytest.mark.parametrize("name", STRUCTURES)
def test_given_precisions_become_covariances(name: str) -> None:
    structure = STRUCTURES[name]
    roots = default_rng(0).normal(size=(3, 3, 3)) + 3 * np.eye(3)
    dense = roots @ roots.transpose(0, 2, 1)
    precisions = {
        "full": dense,
        "tied": dense[0],
        "diag": dense[0],
        "spherical": np.array([1.0, 2.0, 4.0]),
    }[name]
    precisions = np.abs(precisions) if name == "diag" else precisions
    _, found = started(Given(KMeans(), precisions=precisions), Block(ROWS), name=name)
    factors = structure.factor(found.components.covariances)
    assert_allclose(structure.precisions(factors), precisions, rtol=1e-10)


@pytest.mark.parametrize("start", ["k-means++", "random_from_data"])
def test_tied_does_not_start_at_one_gaussian(start: str) -> None:
    # scikit-learn converges there from all starts but k-means: -2.5328 nats per row on iris
    rows = load_iris().data
    model = GaussianMixture(3, covariance_type="tied", init_params=start, random_state=0, n_init=3)
    assert model.fit(rows).lower_bound_ > -2.0


def test_a_mixture_needs_a_component() -> None:
    with pytest.raises(ValueError, match="n_components=0; it must be 1 or more"):
        Mixture(Gaussian(Full()), 0, KMeans())
    with pytest.raises(ValueError, match="degenerate='ignore'; it must be one of"):
        Mixture(Gaussian(Full()), 1, KMeans(), "ignore")
