"""A fit without iterating: the optimum follows from the sums of one pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Any, TypeVar

import numpy as np

from dask_em.core.em import Iterate, check_likelihood
from dask_em.core.records import Parameters, Record, Statistics
from dask_em.engine.course import Progress
from dask_em.engine.look import glimpse
from dask_em.engine.mending import Mending
from dask_em.engine.monitor import PassRecord
from dask_em.engine.passes import Pass, Passes
from dask_em.engine.sample import check_squares
from dask_em.engine.trail import Trail
from dask_em.errors import DataError, DegenerateError

__all__ = ["glimpsed", "optimum_of_one_pass"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)

#: passes at most: the second from where the first found the rows to be
PASSES = 2


@dataclass(frozen=True)
class Solved(Record):
    """That nothing is left to be done."""


def glimpsed(passes: Passes[P, S], otherwise: Callable[[], P], rng: Any) -> P:
    """Where sums can be taken: near the rows of a few chunks.

    Where these have no start, because they are left out or all alike, it is that of `otherwise`.
    """
    rows = glimpse(passes.source, passes.runner, passes.reading, passes.monitor)
    if rows is None:
        return otherwise()
    check_squares(float(np.abs(rows.values).max()), passes.source.schema)
    try:
        return passes.model.initialize(rows, rng)
    except (DataError, DegenerateError):
        return otherwise()


def optimum_of_one_pass(
    passes: Passes[P, S],
    mending: Mending[P, S],
    start: Callable[[], P],
    otherwise: Callable[[], P],
    trail: Trail[P, S],
) -> Progress[P, S]:
    """The optimum, and the statistics at it, from one pass over the rows.

    There is a second pass where the start was so far from the rows that the sums of the first lack
    digits; where they have none left, it is made from the start of `otherwise`.
    """
    progress = trail.resumed()
    if progress is None:
        progress = _passed(passes, mending, start(), (), trail, otherwise)
    elif isinstance(progress.memory, Solved):
        for record in progress.history[:-1]:
            passes.monitor.end(record)
    while not isinstance(progress.memory, Solved):
        passes.monitor.end(progress.history[-1])
        place: Any = progress.memory  # the parameters of `nearer`, or of `otherwise`
        progress = _passed(passes, mending, place, progress.history, trail)
    passes.monitor.end(progress.history[-1])
    return progress


def _passed(
    passes: Passes[P, S],
    mending: Mending[P, S],
    start: P,
    history: tuple[PassRecord, ...],
    trail: Trail[P, S],
    otherwise: Callable[[], P] | None = None,
) -> Progress[P, S]:
    model: Any = mending.model  # a SupportsClosedForm
    made = passes.expect([start], len(history))
    try:
        found: P = model.closed_form(made.statistics[0])
    except DegenerateError:
        if otherwise is None or (sampled := otherwise()).equals(start):
            raise
        seen = Iterate(start, made.statistics[0], model.log_prior(start))
        rejected = replace(made.record, step="rejected")
        return trail.passed(Progress(seen, sampled, -inf, (*history, rejected)))
    iterate = Iterate(found, model.placed(made.statistics[0], found), model.log_prior(found))
    check_likelihood(iterate)
    nearer = None
    if len(history) + 1 < PASSES:
        nearer = model.nearer(made.statistics[0], passes.source.schema.dtype)
    record = _told(made, iterate, mending, last=nearer is None)
    memory = Solved() if nearer is None else nearer
    return trail.passed(Progress(iterate, memory, -inf, (*history, record)))


def _told(made: Pass[S], iterate: Iterate[P, S], mending: Mending[P, S], last: bool) -> PassRecord:
    return replace(
        made.record,
        objective=iterate.objective,
        repairs=mending.found(iterate.parameters),
        step="closed",
        gap=0.0 if last else None,
    )
