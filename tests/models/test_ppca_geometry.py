"""The geometry of principal component analysers: slopes against differences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dask_em.core.block import Block
from dask_em.errors import DegenerateError
from dask_em.models.low_rank import composed
from dask_em.models.low_rank_chart import LowRankChart
from dask_em.models.mixture import Mixture, MixtureParameters
from dask_em.models.ppca_emission import Analysers, PrincipalComponents
from dask_em.models.seeding import KMeans
from tests.models import analysers as paper

K, D = 2, 5


@pytest.fixture(params=[1, 2, 4])
def q(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def made(q: int, reg_covar: float = 0.0) -> tuple[Mixture, Block, MixtureParameters]:
    model = Mixture(PrincipalComponents(q, reg_covar), K, KMeans())
    rows, _ = model.sample(600, paper.planted(K, D, q), np.random.default_rng(0))
    block = Block(4 * rows + 40)
    start = model.initialize(block, np.random.default_rng(1))
    return model, block, model.maximize(model.expect(block, start))


def elsewhere(model: Mixture, reference: MixtureParameters, size: float = 0.2) -> MixtureParameters:
    chart = model.geometry().chart(reference)
    vector = chart.vector(reference)
    return chart.parameters(vector + size * np.random.default_rng(2).normal(size=vector.shape))


def test_the_reference_is_at_zero_and_coordinates_come_back(q):
    model, _, reference = made(q)
    chart = model.geometry().chart(reference)
    vector = chart.vector(reference)
    np.testing.assert_allclose(vector, 0, atol=1e-12)
    assert len(vector) == model.n_free_parameters(reference) + 1  # weights are one too many
    there = elsewhere(model, reference)
    assert np.abs(chart.vector(there)).max() > 0.1
    back = chart.parameters(chart.vector(there))
    for name in ("means", "loadings", "noise_variances"):
        found, expected = getattr(back.components, name), getattr(there.components, name)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_fishers_identity(q):
    model, block, reference = made(q)
    chart, there = model.geometry().chart(reference), elsewhere(model, reference)
    at = chart.vector(there)
    slope = chart.gradient(there, model.expect(block, there))
    assert np.abs(slope).max() > 10
    h = 1e-5
    for axis in range(len(at)):
        step = np.zeros_like(at)
        step[axis] = h
        up = model.expect(block, chart.parameters(at + step)).log_likelihood
        down = model.expect(block, chart.parameters(at - step)).log_likelihood
        assert (up - down) / (2 * h) == pytest.approx(slope[axis], abs=2e-4, rel=1e-5), axis


def test_near_the_optimum_the_em_step_is_the_slope_where_the_model_is_true(q):
    """The chart's metric is the Fisher information; the family is curved, hence the tolerance."""
    model, _, _ = made(q)
    truth = paper.planted(K, D, q)
    rows, _ = model.sample(200_000, truth, np.random.default_rng(0))
    block, there = Block(rows), elsewhere(model, truth, 1e-2)
    statistics = model.expect(block, there)
    chart = model.geometry().chart(there)
    slope = chart.gradient(there, statistics) / statistics.mass
    step = chart.vector(model.maximize(statistics))
    assert np.linalg.norm(step - slope) < 0.05 * np.linalg.norm(slope)


def test_complete_is_linear_and_its_maximum_is_maximize(q):
    model, block, reference = made(q)
    geometry, statistics = model.geometry(), model.expect(block, reference)
    there = elsewhere(model, reference)
    whole = geometry.complete(there, statistics)
    assert geometry.complete(there, 0.25 * statistics) == pytest.approx(whole / 4, rel=1e-12)
    best = geometry.maximize(statistics)
    slope = geometry.chart(best).gradient(best, statistics)
    np.testing.assert_allclose(slope / statistics.mass, 0, atol=1e-9)
    assert geometry.complete(best, statistics) > whole


def test_regularized_sums_give_the_models_own_m_step(q):
    model, block, reference = made(q, reg_covar=0.3)
    geometry, statistics = model.geometry(), model.expect(block, reference)
    mine: Any = geometry.maximize(geometry.regularized(statistics)).components
    own: Any = model.maximize(statistics).components
    for name in ("means", "loadings", "noise_variances"):
        np.testing.assert_allclose(getattr(mine, name), getattr(own, name), rtol=1e-8, atol=1e-9)


def test_a_latent_dimension_without_length_has_no_coordinates():
    loadings = np.random.default_rng(0).normal(size=(K, D, 2))
    loadings[1, :, 1] = loadings[1, :, 0]
    short = Analysers(np.zeros((K, D)), loadings, np.ones(K))
    model = Mixture(PrincipalComponents(2), K, KMeans())
    with pytest.raises(DegenerateError, match="component 1 has fewer than 2 latent dimensions"):
        model.geometry().chart(MixtureParameters(np.full(K, 0.5), short))


@pytest.mark.parametrize(
    ("noise", "logarithm", "message"),
    [(0.5, 9.0, "lost in the noise"), (1e-9, -16.0, "noise variance is below 1e-13")],
)
def test_steps_beyond_the_family_are_refused(noise, logarithm, message):
    loadings = np.random.default_rng(0).normal(size=(K, D, 2))
    covariances = composed(loadings, np.full(K, noise))
    chart = LowRankChart(covariances, np.full(K, 0.5), 2)
    vector = chart.vector(covariances).reshape(K, -1)
    vector[1, -1] = logarithm
    with pytest.raises(DegenerateError, match=message):
        chart.covariances(vector.ravel())


def test_statistics_of_no_parameters_are_refused():
    model, block, reference = made(2)
    statistics = model.expect(block, reference)
    flat = replace(statistics, sums=replace(statistics.sums, second=-statistics.sums.second))
    with pytest.raises(DegenerateError):
        model.geometry().maximize(flat)
