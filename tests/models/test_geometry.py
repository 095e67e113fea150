"""The geometry of mixtures: slopes against differences, sums against their definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dask_em.core.block import Block
from dask_em.core.geometry import Geometry
from dask_em.errors import DegenerateError
from dask_em.models.covariance import STRUCTURES
from dask_em.models.gaussian import Gaussian
from dask_em.models.kernels import CentredKernel
from dask_em.models.mixture import Mixture, MixtureParameters
from dask_em.models.seeding import KMeans

SHIFT, SCALE = np.array([40.0, -3.0, 0.0]), np.array([5.0, 0.25, 1.0])


def mixed(seed: int = 0, n: int = 600, k: int = 3) -> Block:
    rng = np.random.default_rng(seed)
    turn = rng.normal(size=(k, 3, 3))
    rows = rng.normal(size=(n, 3))
    which = rng.integers(k, size=n)
    rows = np.einsum("nij,nj->ni", turn[which], rows) + 2 * rng.normal(size=(k, 3))[which]
    return Block(rows * SCALE + SHIFT)


def made(structure: str, reg_covar: float = 0.0) -> tuple[Mixture, Block, MixtureParameters]:
    model = Mixture(Gaussian(STRUCTURES[structure], reg_covar), 3, KMeans())
    block = mixed()
    parameters = model.initialize(block, np.random.default_rng(1))
    return model, block, model.maximize(model.expect(block, parameters))


def geometry_of(model: Mixture) -> Geometry:
    geometry = model.geometry()
    assert geometry is not None
    return geometry


@pytest.fixture(params=sorted(STRUCTURES))
def structure(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def elsewhere(model: Mixture, block: Block, reference: MixtureParameters, size: float = 0.3):
    chart = geometry_of(model).chart(reference)
    vector = chart.vector(reference)
    step = np.random.default_rng(2).normal(size=vector.shape) * size
    return chart.parameters(vector + step)


def test_the_reference_is_at_zero_and_coordinates_come_back(structure):
    model, block, reference = made(structure)
    chart = geometry_of(model).chart(reference)
    np.testing.assert_allclose(chart.vector(reference), 0, atol=1e-12)
    there = elsewhere(model, block, reference)
    vector = chart.vector(there)
    assert np.abs(vector).max() > 0.1
    back = chart.parameters(vector)
    np.testing.assert_allclose(back.weights, there.weights, rtol=1e-12)
    np.testing.assert_allclose(back.components.means, there.components.means, rtol=1e-10)
    np.testing.assert_allclose(back.components.covariances, there.components.covariances, rtol=1e-9)


def test_fishers_identity(structure):
    """The slope of the log-likelihood is that of `complete` of the statistics induced there."""
    model, block, reference = made(structure)
    geometry = geometry_of(model)
    chart, there = geometry.chart(reference), elsewhere(model, block, reference)
    at = chart.vector(there)
    slope = chart.gradient(there, model.expect(block, there))
    h = 1e-5
    for axis in range(len(at)):
        step = np.zeros_like(at)
        step[axis] = h
        up = model.expect(block, chart.parameters(at + step)).log_likelihood
        down = model.expect(block, chart.parameters(at - step)).log_likelihood
        assert (up - down) / (2 * h) == pytest.approx(slope[axis], abs=2e-4, rel=1e-5), axis


def test_near_the_reference_the_em_step_is_the_slope():
    """The chart's metric is the Fisher information of the complete data."""
    for name in STRUCTURES:
        model, block, _ = made(name)
        reference = model.initialize(block, np.random.default_rng(1))
        for _ in range(200):
            reference = model.maximize(model.expect(block, reference))
        there = elsewhere(model, block, reference, 1e-4)
        chart, statistics = geometry_of(model).chart(there), model.expect(block, there)
        slope = chart.gradient(there, statistics) / statistics.mass
        step = chart.vector(model.maximize(statistics))
        np.testing.assert_allclose(step, slope, atol=1e-6)


def test_complete_is_linear_and_its_maximum_is_maximize(structure):
    model, block, reference = made(structure)
    geometry = geometry_of(model)
    statistics = model.expect(block, reference)
    there = elsewhere(model, block, reference)
    whole = geometry.complete(there, statistics)
    assert geometry.complete(there, 0.25 * statistics) == pytest.approx(whole / 4, rel=1e-12)
    best = geometry.maximize(statistics)
    slope = geometry.chart(best).gradient(best, statistics)
    np.testing.assert_allclose(slope / statistics.mass, 0, atol=1e-9)
    assert geometry.complete(best, statistics) > whole


def test_complete_is_the_log_likelihood_where_one_component_owns_all(structure):
    model = Mixture(Gaussian(STRUCTURES[structure]), 1, KMeans())
    block = mixed()
    parameters = model.initialize(block, np.random.default_rng(0))
    statistics = model.expect(block, parameters)
    found = geometry_of(model).complete(parameters, statistics)
    assert found == pytest.approx(statistics.log_likelihood, rel=1e-12)


def test_regularized_sums_give_the_models_own_m_step(structure):
    model, block, reference = made(structure, reg_covar=0.05)
    geometry, statistics = geometry_of(model), model.expect(block, reference)
    mine = geometry.maximize(geometry.regularized(statistics))
    own = model.maximize(statistics)
    np.testing.assert_allclose(mine.components.covariances, own.components.covariances, rtol=1e-9)
    np.testing.assert_allclose(mine.components.means, own.components.means, rtol=1e-9)


def test_moved_sums_say_the_same(structure):
    model, block, reference = made(structure)
    geometry, there = geometry_of(model), elsewhere(model, block, reference)
    lifted = model.expect(block, there)
    kernel = CentredKernel(there.components, there.weights, np.dtype(float), len(block))
    kernel.log_joint(block.values)
    share, _ = model.posterior(block, there)
    kernel.accumulate(np.ascontiguousarray(share.T), None)
    counts, sums, _ = kernel.sums()
    centred = replace(lifted, counts=counts, sums=sums)
    moved = geometry.moved(centred, lifted)
    for name in ("first", "second", "origin"):
        np.testing.assert_allclose(
            getattr(moved.sums, name), getattr(lifted.sums, name), rtol=1e-8, atol=1e-8
        )
    back = geometry.moved(lifted, centred)
    np.testing.assert_allclose(back.sums.second, sums.second, rtol=1e-8, atol=1e-8)
    (moved + lifted).mass  # noqa: B018  they add


def test_statistics_of_no_parameters_are_refused(structure):
    model, block, reference = made(structure)
    statistics = model.expect(block, reference)
    geometry = geometry_of(model)
    emptied = replace(statistics, counts=statistics.counts * [1.0, 1.0, -0.1])
    with pytest.raises(DegenerateError, match="component 2 has lost its rows"):
        geometry.maximize(emptied)
    flat = replace(statistics, sums=replace(statistics.sums, second=-statistics.sums.second))
    with pytest.raises(DegenerateError):
        geometry.maximize(flat)
