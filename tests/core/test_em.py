"""The loop, when it stops, and what it then says."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np
import pytest

from dask_em.core.block import Block
from dask_em.core.em import Iterate, em, fit
from dask_em.core.model import Model
from dask_em.core.records import Parameters, Statistics
from dask_em.core.stopping import Outcome, Stopping
from dask_em.errors import DataError, InputError


@dataclass(frozen=True)
class At(Parameters):
    x: float


@dataclass(frozen=True)
class Halving(Model[At, Statistics]):
    """Halves its distance to 1; a row is worth minus the squared distance."""

    worth: float = 0.0  # of the prior

    def initialize(self, sample: Block, rng: np.random.Generator) -> At:
        return At(0.0)

    def expect(self, block: Block, parameters: At) -> Statistics:
        return Statistics(block.mass, -block.mass * (parameters.x - 1) ** 2)

    def maximize(self, statistics: Statistics) -> At:
        distance = (-statistics.log_likelihood / statistics.mass) ** 0.5
        return At(1 - distance / 2)

    def log_prior(self, parameters: At) -> float:
        return self.worth * parameters.x


BLOCK = Block(np.zeros((4, 1)))


def test_an_iterate_pairs_parameters_with_the_statistics_they_induce() -> None:
    model = Halving()
    iterates = list(islice(em(model, lambda at: model.expect(BLOCK, at), At(0.0)), 4))
    assert [iterate.parameters.x for iterate in iterates] == [0, 0.5, 0.75, 0.875]
    for iterate in iterates:
        assert iterate.statistics == model.expect(BLOCK, iterate.parameters)
        assert iterate.objective == -((iterate.parameters.x - 1) ** 2)


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    asked: list[float] = []

    def e_step(at: At) -> Statistics:
        asked.append(at.x)
        return Halving().expect(BLOCK, at)

    iterates = em(Halving(), e_step, At(0.0))
    assert asked == []
    next(iterates)
    next(iterates)
    assert asked == [0.0, 0.5]


def test_the_prior_is_part_of_the_objective() -> None:
    model = Halving(worth=8.0)
    iterate = next(em(model, lambda at: model.expect(BLOCK, at), At(0.5)))
    assert iterate.log_prior == 4.0
    assert iterate.objective == -0.25 + 1.0
    assert Iterate(At(0.0), Statistics(2.0, -6.0)).objective == -3.0


def test_fit_stops_and_is_one_step_ahead_of_its_last_iterate() -> None:
    found = fit(Halving(), BLOCK, At(0.0), Stopping(1e-3, 50))
    assert found.outcome is Outcome.CONVERGED
    assert found.last.objective == found.objectives[-1]
    assert found.parameters == Halving().maximize(found.last.statistics)
    gains = np.diff(found.objectives)
    assert gains[-1] < 1e-3 <= gains[-2]


def test_fit_counts_passes() -> None:
    found = fit(Halving(), BLOCK, At(0.0), Stopping(0.0, 5))
    assert found.outcome is Outcome.ITERATION_LIMIT
    assert len(found.objectives) == 5
    assert found.parameters.x == 1 - 2.0**-5


@pytest.mark.parametrize(
    "block", [Block(np.zeros((0, 1))), Block(np.zeros((3, 1)), np.zeros(3))], ids=["empty", "zero"]
)
def test_fit_needs_rows(block: Block) -> None:
    with pytest.raises(DataError, match="no rows to fit; at least one with a positive weight"):
        fit(Halving(), block, At(0.0), Stopping())


def test_stopping_is_strict() -> None:
    # scikit-learn: `abs(change) < tol`
    stopping = Stopping(0.5, 10)
    assert stopping.judge(-1.0, -0.5, 2) is None
    assert stopping.judge(-1.0, np.nextafter(-0.5, -1), 2) is Outcome.CONVERGED
    assert stopping.judge(-0.6, -0.7, 2) is Outcome.CONVERGED
    assert Stopping(0.0, 10).judge(-1.0, -1.0, 2) is None


def test_the_first_pass_never_converges() -> None:
    assert Stopping(1e300, 10).judge(-float("inf"), -1.0, 1) is None


def test_the_last_pass_may_still_converge() -> None:
    assert Stopping(0.5, 3).judge(-1.0, -0.9, 3) is Outcome.CONVERGED
    assert Stopping(0.5, 3).judge(-2.0, -1.0, 3) is Outcome.ITERATION_LIMIT
    assert Stopping(0.5, 3).judge(-2.0, -1.0, 2) is None


def test_a_fall_is_an_outcome_where_it_cannot_be() -> None:
    stopping = Stopping(1e-9, 10)
    assert stopping.judge(-1.0, -1.1, 2, monotone=True) is Outcome.DESCENDED
    assert stopping.judge(-1.0, -1.1, 2, monotone=False) is None
    # rounding is no fall
    assert stopping.judge(-1e3, -1e3 - 1e-6, 2, monotone=True) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tol": -1.0}, r"tol=-1.0; it must be 0 or more"),
        ({"tol": float("nan")}, r"tol=nan"),
        ({"max_iter": -1}, r"max_iter=-1; it must be 0 or more passes"),
    ],
)
def test_bad_limits(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Stopping(**options)  # type: ignore[arg-type]


def test_every_outcome_gives_advice() -> None:
    assert all(len(outcome.advice) > 5 for outcome in Outcome)
    assert "max_iter" in Outcome.ITERATION_LIMIT.advice
    assert "checkpoint" in Outcome.ITERATION_LIMIT.advice, "not every estimator has warm_start"
