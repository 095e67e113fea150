"""Corrected EM on mixtures: its surrogate, its climb, and what it does when the sample is poor."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from dask_em.core.block import Block
from dask_em.core.climb import Effort, climb
from dask_em.core.corrected import RADIUS, SHARE, CorrectedEM, Corrections, Known, Local, Step
from dask_em.core.em import Iterate
from dask_em.core.optimum import optimum
from dask_em.core.surrogate import Surrogate
from dask_em.engine.sample_rows import SampleRows
from dask_em.models.covariance import STRUCTURES, Full
from dask_em.models.gaussian import Gaussian
from dask_em.models.mixture import Mixture
from dask_em.models.seeding import KMeans
from tests.engine.sources import overlapping


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
        memory = algorithm.learned(proposal.memory, iterates[-1], found, gains)
        if gains[best] < 0 and not proposal.candidates[best].sure:
            continue
        assert gains[best] > -1e-12
        iterates.append(found[best])
    return iterates


def algorithm_of(model: Mixture, sample: SampleRows, n_rows: int, most: int = 0) -> CorrectedEM:
    """A sample of so many rows, which may grow to `most`."""
    return CorrectedEM(model.geometry(), sample.first, n_rows, max(most, n_rows), model)


@pytest.fixture(scope="module")
def rows() -> SampleRows:
    return SampleRows(model_of(), Block(overlapping()), 2)


@pytest.fixture(scope="module")
def start(rows):
    return model_of().initialize(rows.block, np.random.default_rng(0))


@pytest.fixture(scope="module")
def near(rows, start):
    """The optimum of a good sample."""
    return optimum(model_of().geometry(), rows.first(20_000), [start], 17).parameters


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


def test_the_slope_is_that_of_the_value(rows, start):
    geometry = model_of().geometry()
    surrogate = Surrogate.around(geometry, rows.first(1500).expect, start, rows.expect(start))
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
    assert top.finished
    assert top.gain > 0
    here = evaluated(model, whole, top.parameters)
    stepped = evaluated(model, whole, model.maximize(here.statistics))
    assert stepped.objective - here.objective < 1e-11
    slope = model.geometry().chart(top.parameters).gradient(top.parameters, here.statistics)
    assert np.linalg.norm(slope) / len(whole) < 1e-4


def test_few_corrections_where_em_takes_hundreds(rows, near):
    model = model_of()
    algorithm = algorithm_of(model, rows, 20_000)
    iterates = corrected(algorithm, model, rows, near, 6)
    iterate = iterates[-1]
    surrogate = Surrogate.around(
        model.geometry(), rows.expect, iterate.parameters, iterate.statistics
    )
    top = climb(surrogate, iterate.parameters, Effort(1e-15, 1e-14, 500))
    best = iterate.objective + top.gain
    assert best - iterates[0].objective > 1e-6
    assert best - iterate.objective < 1e-6
    plain = near
    for _ in range(6):
        plain = model.maximize(rows.expect(plain))
    assert best - evaluated(model, rows, plain).objective > 1e-5


def test_the_gap_is_what_is_left(rows, near):
    model = model_of()
    algorithm = algorithm_of(model, rows, 20_000)
    iterate = evaluated(model, rows, near)
    surrogate = Surrogate.around(model.geometry(), rows.expect, near, iterate.statistics)
    left = climb(surrogate, near, Effort(1e-15, 1e-14, 500)).gain
    gap = algorithm.propose(iterate, algorithm.begin()).gap
    assert gap == pytest.approx(left, rel=0.3)


def test_a_regularized_fit_ends_where_plain_em_ends(rows):
    model = model_of(reg_covar=0.002)
    whole = SampleRows(model, rows.block.take(slice(0, 4000)), 1)
    plain = model.initialize(whole.block, np.random.default_rng(0))
    for _ in range(3000):
        plain = model.maximize(whole.expect(plain))
    algorithm = algorithm_of(model, whole, 3000)
    near = model.initialize(whole.block, np.random.default_rng(0))
    iterate = corrected(algorithm, model, whole, near, 15)[-1]
    np.testing.assert_allclose(
        iterate.parameters.components.covariances,
        plain.components.covariances,
        rtol=1e-3,
        atol=1e-3,
    )


def test_a_sample_of_another_place_is_not_trusted(rows, start):
    """A sample that says nothing of the data must not lead anywhere worse."""
    model = model_of()
    odd = rows.block.take(np.flatnonzero(rows.block.values[:, 0] > 1.5)[:60])
    algorithm = algorithm_of(model, SampleRows(model, odd, 1), 60)
    iterates = corrected(algorithm, model, rows, start, 6)
    assert iterates[-1].objective > iterates[0].objective


def test_a_surrogate_that_was_wrong_is_trusted_less_and_em_is_there_to_fall_back_on(rows, near):
    algorithm = algorithm_of(model_of(), rows, 20_000)
    iterate = evaluated(model_of(), rows, near)
    first = algorithm.propose(iterate, algorithm.begin())
    assert [one.step for one in first.candidates] == ["corrected"]
    length = first.memory.steps[0].length
    there = evaluated(model_of(), rows, first.candidates[0].parameters)
    memory = algorithm.learned(first.memory, iterate, [there], [-0.1])
    assert memory.radius == pytest.approx(SHARE * length)
    second = algorithm.propose(iterate, memory)
    steps = [one.step for one in second.candidates]
    assert steps == ["corrected"] * (len(steps) - 1) + ["em"]
    assert second.candidates[-1].sure
    lengths = [step.length for step in second.memory.steps]
    assert len(lengths) > 1
    assert lengths[0] <= memory.radius * (1 + 1e-9)
    assert all(later <= SHARE * sooner * (1 + 1e-9) for sooner, later in pairwise(lengths))


def test_a_surrogate_that_was_right_is_trusted_further(rows, near):
    algorithm = algorithm_of(model_of(), rows, 20_000)
    iterate = evaluated(model_of(), rows, near)
    short = Corrections(20_000, radius=0.01, steps=(Step(0.01, 1e-3),))
    assert algorithm.learned(short, iterate, [iterate], [0.9e-3]).radius == pytest.approx(0.04)
    assert algorithm.learned(short, iterate, [iterate], [0.1e-3]).radius < 0.01
    long = replace(short, radius=RADIUS, steps=(Step(RADIUS, 1e-3),))
    assert algorithm.learned(long, iterate, [iterate], [0.9e-3]).radius == RADIUS


def test_slopes_that_are_known_mend_the_curvature_of_a_small_sample(rows, near):
    model, geometry = model_of(), model_of().geometry()
    iterate, chart = evaluated(model, rows, near), geometry.chart(near)
    places = [chart.parameters(0.01 * axis) for axis in np.eye(chart.vector(near).size)]
    known = [Known(place, rows.expect(place)) for place in places]
    ends = [
        Local(geometry, rows.first(2500), iterate, told).climb(RADIUS, Effort())
        for told in ((), known)
    ]
    gains = [evaluated(model, rows, end.parameters).objective - iterate.objective for end in ends]
    assert gains[1] > gains[0]
    assert gains[1] == pytest.approx(ends[1].gain, rel=0.05)


def test_a_sample_grows_where_it_is_too_small(rows, near):
    algorithm = algorithm_of(model_of(), rows, 15_000, most=40_000)
    iterate = evaluated(model_of(), rows, near)
    assert algorithm.propose(iterate, algorithm.begin()).sample_rows is None
    doubtful = replace(algorithm.begin(), doubtful=True)
    proposal = algorithm.propose(iterate, doubtful)
    assert proposal.sample_rows == proposal.memory.n_rows == 40_000
    largest = replace(doubtful, n_rows=40_000)
    assert algorithm.propose(iterate, largest).sample_rows is None


def test_the_better_of_several_starts_wins_on_the_sample(rows, start):
    model = model_of()
    poor = replace(start, weights=np.array([1e-6, 1e-6, 1 - 2e-6]))
    found = optimum(model.geometry(), rows.first(4000), [poor, start], 17)
    alone = [optimum(model.geometry(), rows.first(4000), [one], 17) for one in (poor, start)]
    reached = [rows.first(4000).expect(one.parameters).log_likelihood for one in (found, *alone)]
    assert reached[0] == pytest.approx(max(reached), abs=1e-3)
