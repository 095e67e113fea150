"""The product of models: each member as if it were alone."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan

import numpy as np
import pytest

from dask_em import archive
from dask_em.core.block import Block
from dask_em.core.model import Model
from dask_em.core.records import Parameters, Record, Statistics
from dask_em.core.together import (
    Parts,
    Together,
    TogetherParameters,
    TogetherStatistics,
    expect_each,
)
from dask_em.errors import InputError, StatisticsError


@dataclass(frozen=True)
class Spot(Parameters):
    at: float


@dataclass(frozen=True)
class SpotTotal(Statistics):
    total: float


@dataclass(frozen=True)
class AroundSpot(Model[Spot, SpotTotal]):
    """Unit normal around a place; with a prior if told, and not finite at places below 0."""

    prior: float = 0.0

    def initialize(self, sample, rng):
        return Spot(float(rng.normal()))

    def expect(self, block, parameters):
        weights = np.ones(len(block)) if block.weights is None else block.weights
        x = block.values[:, 0]
        log_likelihood = float(weights @ (-0.5 * (x - parameters.at) ** 2))
        if parameters.at < 0:
            log_likelihood = nan
        return SpotTotal(block.mass, log_likelihood, float(weights @ x))

    def maximize(self, statistics):
        return Spot(statistics.total / statistics.mass)

    def log_prior(self, parameters):
        return self.prior

    @property
    def monotone(self):
        return self.prior == 0


ROWS = Block(np.arange(6.0)[:, None])
PAIR = Together((AroundSpot(), AroundSpot(2.0)))
AT = TogetherParameters((Spot(1.0), Spot(3.0)))


def test_each_member_is_as_if_alone():
    found = PAIR.expect(ROWS, AT)
    for member, (model, place) in enumerate(zip(PAIR.models, AT.members, strict=True)):
        assert found.members[member].equals(model.expect(ROWS, place))
    assert found.mass == 6
    assert found.log_likelihood == sum(one.log_likelihood for one in found.members)
    assert PAIR.maximize(found).equals(TogetherParameters((Spot(2.5), Spot(2.5))))
    assert PAIR.log_prior(AT) == 2.0


def test_starts_are_drawn_one_after_the_other():
    one, other = PAIR.initialize(ROWS, np.random.default_rng(0)).members
    rng = np.random.default_rng(0)
    assert (one.at, other.at) == (rng.normal(), rng.normal())


def test_monotone_if_all_are():
    assert Together((AroundSpot(), AroundSpot())).monotone
    assert not PAIR.monotone


def test_an_absent_member_costs_nothing():
    class Watched(AroundSpot):
        calls = 0

        def expect(self, block, parameters):
            type(self).calls += 1
            return super().expect(block, parameters)

    model = Together((Watched(), AroundSpot(2.0)))
    parameters = TogetherParameters((None, Spot(3.0)))
    found = model.expect(ROWS, parameters)
    assert Watched.calls == 0
    assert found.members[0] is None
    assert found.log_likelihood == found.members[1].log_likelihood
    assert model.maximize(found).members == (None, Spot(2.5))
    assert model.log_prior(parameters) == 2.0
    twice = found + found
    assert twice.members[0] is None
    assert (0.5 * twice).equals(found)
    assert (0.5 * twice.members).equals(found.members)
    assert (twice - found).equals(found)


def test_sums_of_different_members_do_not_add():
    both = PAIR.expect(ROWS, AT)
    one = PAIR.expect(ROWS, TogetherParameters((None, Spot(3.0))))
    with pytest.raises(StatisticsError, match="different members"):
        both + one
    with pytest.raises(StatisticsError, match="different members"):
        Parts(both.members.each) - Parts(both.members.each[:1])


def test_a_member_that_fails_does_not_fail_the_others():
    found = PAIR.expect(ROWS, TogetherParameters((Spot(-1.0), Spot(3.0))))
    assert found.log_likelihood == found.members[1].log_likelihood
    assert not isfinite(found.members[0].log_likelihood)
    all_failed = PAIR.expect(ROWS, TogetherParameters((Spot(-1.0), Spot(-1.0))))
    assert not isfinite(all_failed.log_likelihood)


def test_archives_keep_absence(tmp_path):
    found = PAIR.expect(ROWS, TogetherParameters((None, Spot(3.0))))
    for name, record in {"s": found, "p": PAIR.maximize(found)}.items():
        archive.save(tmp_path / name, record)
        assert archive.load(tmp_path / name).record.equals(record)
    assert isinstance(found, TogetherStatistics)
    assert isinstance(found.members, Record)


def test_candidates_of_any_model():
    found = expect_each(AroundSpot(), ROWS, [Spot(1.0), Spot(2.0)])
    assert [one.log_likelihood for one in found] == [
        AroundSpot().expect(ROWS, Spot(at)).log_likelihood for at in (1.0, 2.0)
    ]
    assert expect_each(AroundSpot(), ROWS, []) == []


def test_no_members():
    with pytest.raises(InputError, match="at least one"):
        Together(())


def test_parameters_for_each_member():
    with pytest.raises(ValueError, match="zip"):
        PAIR.expect(ROWS, TogetherParameters((Spot(1.0),)))
