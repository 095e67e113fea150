"""Parameters to statistics: one task's share of a pass."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dask_em.core.model import Model
from dask_em.core.records import Additive, Parameters, Statistics
from dask_em.engine.source import Partition
from dask_em.engine.stream import Piece, Reading, Tally, fold_leaves
from dask_em.errors import DataError

__all__ = ["Expectation", "Summed", "expect_leaves"]


@dataclass(frozen=True)
class Expectation:
    """What the tasks of an E-step share."""

    model: Model[Any, Any]
    parameters: Parameters
    reading: Reading


@dataclass(frozen=True)
class Summed(Additive):
    """Statistics, and what they cost."""

    statistics: Statistics
    tally: Tally


def expect_leaves(
    leaves: list[Partition], expectation: Expectation, stopped: Callable[[], bool]
) -> Summed | None:
    """The statistics of a task's leaves; None if they are empty."""
    reading = expectation.reading
    return fold_leaves(leaves, reading, lambda piece: _expect(piece, expectation), stopped)


def _expect(piece: Piece, expectation: Expectation) -> Summed:
    begin = time.perf_counter()
    parameters = expectation.parameters
    statistics = expectation.model.expect(piece.block, parameters)
    if not math.isfinite(statistics.log_likelihood):
        raise DataError(
            f"the log-likelihood of {piece.name} is {statistics.log_likelihood}: its values are "
            "too large to be squared, or not finite; rescale the features"
        )
    cost = Tally(compute_seconds=time.perf_counter() - begin)
    return Summed(statistics, piece.tally + cost)
