"""Parameters to statistics: one task's share of a pass."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dask_em.core.model import Model
from dask_em.core.records import Parameters, Statistics
from dask_em.core.together import expect_each
from dask_em.engine.source import Partition
from dask_em.engine.stream import Piece, Reading, Tally, fold_leaves
from dask_em.errors import DataError

__all__ = ["Expectation", "Summed", "expect_leaves"]


@dataclass(frozen=True)
class Expectation:
    """What the tasks of an E-step share."""

    model: Model[Any, Any]
    candidates: tuple[Parameters, ...]
    reading: Reading


@dataclass(frozen=True)
class Summed:
    """The statistics of each candidate, and what they cost."""

    statistics: tuple[Statistics, ...]
    tally: Tally

    def __add__(self, other: Summed) -> Summed:
        both = zip(self.statistics, other.statistics, strict=True)
        return Summed(tuple(mine + theirs for mine, theirs in both), self.tally + other.tally)


def expect_leaves(
    leaves: list[Partition], expectation: Expectation, stopped: Callable[[], bool]
) -> Summed | None:
    """The statistics of a task's leaves; None if they are empty."""
    reading = expectation.reading
    return fold_leaves(leaves, reading, lambda piece: _expect(piece, expectation), stopped)


def _expect(piece: Piece, expectation: Expectation) -> Summed:
    begin = time.perf_counter()
    model, block = expectation.model, piece.block
    statistics = tuple(expect_each(model, block, expectation.candidates))
    first = statistics[0].log_likelihood
    # candidates that were tried on the way may fail; all fail where the values are to blame
    if not any(math.isfinite(one.log_likelihood) for one in statistics):
        raise DataError(
            f"the log-likelihood of {piece.name} is {first}: its values are too large to be "
            "squared, or not finite; rescale the features"
        )
    cost = Tally(compute_seconds=time.perf_counter() - begin)
    return Summed(statistics, piece.tally + cost)
