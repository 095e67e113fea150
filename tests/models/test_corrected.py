"""Corrected EM on mixtures: its surrogate, its climb, and what it does when the sample is poor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dask_em.core.block import Block
from dask_em.core.climb import Effort, climb
from dask_em.core.corrected import CorrectedEM, Corrections, optimum
from dask_em.core.em import Iterate
from dask_em.core.surrogate import Surrogate
from dask_em.engine.sample_rows import SampleRows
from dask_em.models.covariance import STRUCTURES, Full
from dask_em.models.gaussian import Gaussian
from dask_em.models.mixture import Mixture
from dask_em.models.seeding import KMeans


def overlapping(n: int = 40_000, k: int = 3, d: int = 2) -> Block:
    """Components that plain EM tells apart in hundreds of passes."""
    rng = np.random.default_rng(7)
    which = rng.integers(k, size=n)
    means, spreads = 1.2 * rng.normal(size=(k, d)), rng.uniform(0.6, 1.4, size=(k, d))
    return Block(means[which] + spreads[which] * rng.normal(size=(n, d)))


def model_of(structure: object = None, reg_covar: float = 0.0) -> Mixture:
    return Mixture(Gaussian(structure or Full(), reg_covar), 3, KMeans())


def evaluated(model: Mixture, rows: SampleRows, parameters: object) -> Iterate:
    return Iterate(parameters, rows.expect(parameters))


def corrected(
    algorithm: CorrectedEM, model: Mixture, rows: SampleRows, begin: object, passes: int
) -> list[Iterate]:
    """The iterates of some passes; each is checked to be no worse than the one before."""
    iterates, memory = [evaluated(model, rows, begin)], algorithm.begin()
    for _ in range(passes):
        proposal = algorithm.propose(iterates[-1], memory)
        found = [evaluated(model, rows, one.parameters) for one in proposal.candidates]
        gains = [algorithm.gained(one, iterates[-1]) for one in found]
        best = int(np.nanargmax(gains))
        if gains[best] < 0 and not proposal.candidates[best].sure:
            memory = algorithm.rejected(proposal.memory)
            continue
        assert gains[best] > -1e-12
        iterates.append(found[best])
        memory = proposal.memory
    return iterates


@pytest.fixture(scope="module")
def rows() -> SampleRows:
    return SampleRows(model_of(), overlapping(), 2)


@pytest.fixture(scope="module")
def start(rows):
    return model_of().initialize(rows.block, np.random.default_rng(0))


def test_the_surrogate_has_the_slope_and_the_step_of_all_rows(rows, start):
    geometry, sample = model_of().geometry(), rows.first(2000)
    whole = rows.expect(start)
    surrogate = Surrogate.around(geometry, sample.expect, start, whole)
    point, chart = surrogate.at(start), geometry.chart(start)
    np.testing.assert_allclose(
        surrogate.slope(point, chart), chart.gradient(start, whole) / whole.mass, atol=1e-10
    )
    stepped, own = surrogate.em_step(point), model_of().maximize(whole)
    np.testing.assert_allclose(stepped.components.means, own.components.means, rtol=1e-9)


def test_the_surrogate_of_all_rows_is_their_likelihood(rows, start):
    surrogate = Surrogate.around(model_of().geometry(), rows.expect, start, rows.expect(start))
    there = model_of().maximize(rows.expect(start))
    value = surrogate.at(there).value - surrogate.at(start).value
    whole = rows.expect(there).log_likelihood - rows.expect(start).log_likelihood
    assert value == pytest.approx(whole / len(rows), rel=1e-9)


@pytest.mark.parametrize("damping", [0.0, 0.5])
def test_the_slope_is_that_of_the_value(rows, start, damping):
    geometry = model_of().geometry()
    surrogate = Surrogate.around(
        geometry, rows.first(1500).expect, start, rows.expect(start), damping
    )
    chart = geometry.chart(start)
    at = 0.05 * np.random.default_rng(0).normal(size=chart.vector(start).shape)
    slope = surrogate.slope(surrogate.at(chart.parameters(at)), chart)
    for axis in range(len(at)):
        step = np.zeros_like(at)
        step[axis] = 1e-5
        up, down = (surrogate.at(chart.parameters(at + sign * step)).value for sign in (1, -1))
        assert (up - down) / 2e-5 == pytest.approx(slope[axis], abs=1e-7)


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)
def test_a_climb_ends_where_em_ends(rows, structure):
    model = model_of(structure)
    whole = SampleRows(model, rows.block.take(slice(0, 3000)), 1)
    begin = model.initialize(whole.block, np.random.default_rng(0))
    surrogate = Surrogate.around(model.geometry(), whole.expect, begin, whole.expect(begin))
    top = climb(surrogate, begin, Effort(1e-12, 1e-13, 800, em_steps=15))
    assert top.inside
    assert top.gain > 0
    here = evaluated(model, whole, top.parameters)
    stepped = evaluated(model, whole, model.maximize(here.statistics))
    assert stepped.objective - here.objective < 1e-11
    slope = model.geometry().chart(top.parameters).gradient(top.parameters, here.statistics)
    assert np.linalg.norm(slope) / len(whole) < 1e-4


def test_few_corrections_where_em_takes_hundreds(rows, start):
    model = model_of()
    algorithm = CorrectedEM(model.geometry(), rows.first(20_000), model)
    begin = optimum(model.geometry(), rows.first(20_000), [start], 17).parameters
    iterates = corrected(algorithm, model, rows, begin, 6)
    iterate = iterates[-1]
    surrogate = Surrogate.around(
        model.geometry(), rows.expect, iterate.parameters, iterate.statistics
    )
    top = climb(surrogate, iterate.parameters, Effort(1e-15, 1e-14, 500))
    best = iterate.objective + top.gain
    assert best - iterates[0].objective > 1e-6
    assert best - iterate.objective < 1e-6
    plain = begin
    for _ in range(6):
        plain = model.maximize(rows.expect(plain))
    assert best - evaluated(model, rows, plain).objective > 1e-5


def test_the_gap_is_what_is_left(rows, start):
    model = model_of()
    algorithm = CorrectedEM(model.geometry(), rows.first(20_000), model)
    begin = optimum(model.geometry(), rows.first(20_000), [start], 17).parameters
    iterate = evaluated(model, rows, begin)
    surrogate = Surrogate.around(model.geometry(), rows.expect, begin, iterate.statistics)
    left = climb(surrogate, begin, Effort(1e-15, 1e-14, 500)).gain
    gap = algorithm.propose(iterate, algorithm.begin()).gap
    assert gap == pytest.approx(left, rel=0.3)


def test_a_regularized_fit_ends_where_plain_em_ends(rows):
    model = model_of(reg_covar=0.002)
    whole = SampleRows(model, rows.block.take(slice(0, 4000)), 1)
    plain = model.initialize(whole.block, np.random.default_rng(0))
    for _ in range(3000):
        plain = model.maximize(whole.expect(plain))
    algorithm = CorrectedEM(model.geometry(), whole.first(3000), model)
    near = model.initialize(whole.block, np.random.default_rng(0))
    iterate = corrected(algorithm, model, whole, near, 15)[-1]
    np.testing.assert_allclose(
        iterate.parameters.components.covariances,
        plain.components.covariances,
        rtol=1e-3,
        atol=1e-3,
    )


def test_a_sample_of_another_place_is_damped_or_gives_way_to_em(rows, start):
    """A sample that says nothing of the data must not lead anywhere worse."""
    model = model_of()
    odd = rows.block.take(np.flatnonzero(rows.block.values[:, 0] > 1.5)[:60])
    algorithm = CorrectedEM(model.geometry(), SampleRows(model, odd, 1), model)
    iterates = corrected(algorithm, model, rows, start, 6)
    assert iterates[-1].objective > iterates[0].objective


def test_after_a_rejection_the_em_step_comes_alone(rows, start):
    model = model_of()
    algorithm = CorrectedEM(model.geometry(), rows.first(2000), model)
    memory = algorithm.rejected(Corrections(gain=0.5))
    iterate = evaluated(model, rows, start)
    proposal = algorithm.propose(iterate, memory)
    assert [one.step for one in proposal.candidates] == ["fallback"]
    assert proposal.candidates[0].sure
    assert proposal.gap is None
    assert proposal.memory == replace(memory, rejected=False)


def test_the_better_of_several_starts_wins_on_the_sample(rows, start):
    model = model_of()
    poor = replace(start, weights=np.array([1e-6, 1e-6, 1 - 2e-6]))
    found = optimum(model.geometry(), rows.first(4000), [poor, start], 17)
    alone = [optimum(model.geometry(), rows.first(4000), [one], 17) for one in (poor, start)]
    reached = [rows.first(4000).expect(one.parameters).log_likelihood for one in (found, *alone)]
    assert reached[0] == pytest.approx(max(reached), abs=1e-3)
