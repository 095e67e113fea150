"""The loop of a fit: propose, pass, choose, judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from dask_em.core.records import Parameters, Statistics
from dask_em.core.stopping import Outcome
from dask_em.engine.course import Course, Progress
from dask_em.engine.first import FirstPass
from dask_em.engine.passes import Pass, Passes
from dask_em.engine.trail import Trail

__all__ = ["iterate", "passed"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)


def iterate(
    passes: Passes[P, S],
    course: Course[P, S],
    starts: Callable[[], Sequence[P]],
    previous: float,
    trail: Trail[P, S],
) -> tuple[Progress[P, S], P, Outcome]:
    """Pass after pass from the best of some starts until it is told to stop.

    Where the trail says that the start was interrupted, it goes on from there; the monitor is told
    of the passes before as well.

    Returns
    -------
    Progress, Parameters, Outcome
        The last pass, the parameters after its M-step, and how it ended.
    """
    resumed = trail.resumed()
    if resumed is None:
        course.begin(starts(), previous)
        _pass(passes, course, trail)
    else:
        course.go_on(resumed)
        for record in resumed.history[:-1]:
            passes.monitor.end(record)
    while True:
        outcome = course.propose()
        passes.monitor.reach(course.progress.iterate.parameters)
        passes.monitor.end(course.progress.history[-1])
        if outcome is not None:
            return *course.ended(), outcome
        _pass(passes, course, trail)


def _pass(passes: Passes[P, S], course: Course[P, S], trail: Trail[P, S]) -> None:
    iteration = course.progress.n_passes if course.has_passed else 0
    candidates = [one.parameters for one in course.candidates]
    made = passed(
        passes, course.mending.first, candidates, iteration, course.sample_rows, course.may_fail
    )
    course.take(made.statistics, made.record)
    course.go_on(trail.passed(course.progress))


def passed(
    passes: Passes[P, S],
    first: FirstPass,
    candidates: Sequence[Any],
    iteration: int,
    sample_rows: int | None,
    may_fail: bool,
) -> Pass[S]:
    """A pass, and the sample taken that it brought along where a larger one was wanted."""
    if sample_rows is None:
        return passes.expect(candidates, iteration, may_fail=may_fail)
    made = passes.expect(candidates, iteration, first.sampling(sample_rows), may_fail)
    if made.survey is not None:
        first.grow(made.survey)
    # a fit that was killed meanwhile finds the sample here, and tells the same of it
    grown = len(first.beginning(sample_rows))
    return replace(made, record=replace(made.record, sample_rows=grown))
