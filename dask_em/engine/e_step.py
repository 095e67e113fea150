"""Parameters to statistics: one task's share of a pass."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from dask_em.core.em import check_likelihood
from dask_em.core.model import Model, SupportsClosedForm
from dask_em.core.records import Parameters
from dask_em.core.together import Parts, expect_each
from dask_em.engine.sample import Sampling, Survey, survey
from dask_em.engine.source import Partition
from dask_em.engine.stream import Piece, Reading, Tally, fold_leaves

__all__ = ["Expectation", "Summed", "expect_leaves"]


@dataclass(frozen=True)
class Expectation:
    """What the tasks of an E-step share."""

    model: Model[Any, Any]
    candidates: tuple[Parameters, ...]
    reading: Reading
    sampling: Sampling | None = None  # of a sample that the pass brings along
    may_fail: bool = False  # whether it is no fault of the data if no candidate can be evaluated

    @property
    def looks_afterwards(self) -> bool:
        """Whether values are looked at only where the likelihood says that some are not finite.

        A closed form takes one pass, so that even a look at every value would be felt.
        """
        missing = self.reading.missing
        refused = missing is not None and missing.policy == "error"
        return refused and isinstance(self.model, SupportsClosedForm)


@dataclass(frozen=True)
class Summed:
    """The statistics of each candidate, what they cost, and the sample if one was wanted."""

    statistics: Parts
    tally: Tally
    survey: Survey | None = None

    def __add__(self, other: Summed) -> Summed:
        assert (self.survey is None) == (other.survey is None)
        both = self.survey and other.survey and self.survey + other.survey
        return Summed(self.statistics + other.statistics, self.tally + other.tally, both)


def expect_leaves(
    leaves: list[Partition], expectation: Expectation, stopped: Callable[[], bool]
) -> Summed | None:
    """The statistics of a task's leaves; None if they are empty."""
    reading = expectation.reading
    if expectation.looks_afterwards:
        reading = replace(reading, missing=None)
    if expectation.sampling is not None:
        reading = replace(reading, with_positions=True)
    return fold_leaves(leaves, reading, lambda piece: _expect(piece, expectation), stopped)


def _expect(piece: Piece, expectation: Expectation) -> Summed:
    begin = time.perf_counter()
    model, block = expectation.model, piece.block
    statistics = expect_each(model, block, expectation.candidates)
    # candidates that were tried on the way may fail; all fail where the values are to blame
    fails = not any(math.isfinite(one.log_likelihood) for one in statistics)
    if fails and expectation.looks_afterwards:
        assert expectation.reading.missing is not None
        names = expectation.reading.schema.feature_names
        expectation.reading.missing.apply(block, piece.name, names)
    if fails and not expectation.may_fail:
        check_likelihood(statistics[0], piece.name)
    brought = None if expectation.sampling is None else survey(piece, expectation.sampling)
    cost = Tally(compute_seconds=time.perf_counter() - begin)
    return Summed(Parts(tuple(statistics)), piece.tally + cost, brought)
