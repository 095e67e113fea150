"""EM without a geometry: towards optima and away from saddles, in any units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from dask_em.core.anderson_em import AndersonEM
from dask_em.core.em import Iterate
from dask_em.core.records import Array, Parameters, Statistics


@dataclass(frozen=True)
class Numbers(Parameters):
    lone: float
    many: Array


@dataclass(frozen=True)
class Here(Statistics):
    place: Numbers


@dataclass(frozen=True)
class Linear:
    """An EM map that shrinks, or stretches, each coordinate by its own factor."""

    factors: Array
    units: Array

    def maximize(self, statistics):
        vector = self.vector(statistics.place) * self.factors * self.units
        return Numbers(float(vector[0]), vector[1:])

    def log_prior(self, parameters):
        return 0.0

    def vector(self, place):
        return np.append(place.lone, place.many) / self.units

    def at(self, place):
        # the log-likelihood whose gradient this EM follows
        value = -0.5 * float(((1 - self.factors) * self.vector(place) ** 2).sum())
        return Iterate(place, Here(1.0, value, place))


def run(model, passes):
    algorithm = AndersonEM(model)
    place, memory, steps = Numbers(model.units[0], model.units[1:].copy()), algorithm.begin(), []
    iterate = model.at(place)
    for _ in range(passes):
        proposal = algorithm.propose(iterate, memory)
        found = [model.at(one.parameters) for one in proposal.candidates]
        gains = [algorithm.gained(one, iterate) for one in found]
        best = int(np.argmax(gains))
        memory = algorithm.learned(proposal.memory, iterate, found, gains)
        iterate = found[best]
        steps.append(proposal.candidates[best].step)
    return model.vector(iterate.parameters), steps


SLOW = np.array([0.99, 0.9, 0.5, 0.97])


def test_a_slow_map_is_solved_in_a_few_steps():
    vector, steps = run(Linear(SLOW, np.ones(4)), 7)
    assert np.abs(vector).max() < 1e-6
    assert "extrapolated" in steps


@pytest.mark.parametrize("units", [[1.0, 1e6, 1e-6, 1.0], [1e-9, 1.0, 1.0, 1e9]])
def test_units_do_not_matter(units):
    plain, steps = run(Linear(SLOW, np.ones(4)), 4)
    scaled, others = run(Linear(SLOW, np.array(units)), 4)
    assert steps == others
    np.testing.assert_allclose(scaled, plain, rtol=1e-5, atol=1e-9)


def test_longer_and_longer_steps_lead_away_from_a_saddle():
    """Where extrapolation leads to the saddle itself."""
    vector, steps = run(Linear(np.array([1.02, 0.5]), np.ones(2)), 12)
    assert vector[0] > 100 * 1.02**12
    assert "stretched" in steps


def test_extrapolation_leaves_alone_where_sums_live() -> None:
    from dask_em.core.anderson_em import _rebuilt, _vector
    from dask_em.models.frame import Frame
    from dask_em.models.ppca_parameters import PPCAParameters

    frame = Frame(np.array([0.25, 0.5]), np.array([2.0, 2.0]))
    parameters = PPCAParameters(np.array([1.0, 2.0]), np.ones((2, 1)), 0.5, frame)
    vector = _vector(parameters)
    assert sorted(vector) == [0.5, 1.0, 1.0, 1.0, 2.0]
    moved = _rebuilt(parameters, vector + 1)
    assert moved is not None
    assert moved.noise_variance == 1.5
    assert moved.frame is not None
    assert moved.frame.equals(frame)
    assert _rebuilt(parameters, vector - 1) is None, "a negative variance is no parameter"
