"""The full passes of one fit, and what each of them cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from dask_em.core.model import Model, SupportsKernels
from dask_em.core.records import Parameters, Statistics
from dask_em.engine.accounts import record_of
from dask_em.engine.e_step import Expectation, Summed, expect_leaves
from dask_em.engine.monitor import Monitor, PassRecord
from dask_em.engine.plan import SUMS, Plan, sums_bytes
from dask_em.engine.room import parse_cache
from dask_em.engine.runner import LocalRunner, Runner
from dask_em.engine.sample import Sampling, Survey, checked, survey_leaves
from dask_em.engine.source import Source
from dask_em.engine.stream import Reading, Tally
from dask_em.errors import DataError

__all__ = ["Pass", "Passes"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)


@dataclass(frozen=True)
class Pass(Generic[S]):
    """What a pass found."""

    statistics: list[S]  # of each candidate
    record: PassRecord  # what it cost; what came of it, the caller adds
    survey: Survey | None  # that it brought along


class Passes(Generic[P, S]):
    """Makes passes over a source, one after the other."""

    def __init__(
        self,
        model: Model[P, S],
        source: Source,
        runner: Runner,
        reading: Reading,
        monitor: Monitor,
        cache: str | int = "off",
    ) -> None:
        self.model, self.source, self.runner = model, source, runner
        self.monitor = monitor
        self.plan = Plan.make(source, runner.resources)
        sums = model.statistics_bytes(source.schema.n_features) or 0
        sums = sums_bytes(sums, runner.resources.threads_per_worker)
        self.plan.check_also(sums, SUMS, runner.resources, source.schema)
        local = isinstance(runner, LocalRunner)
        kept = parse_cache(cache, self.plan, runner.resources, local)
        self.reading = replace(reading, cache=kept)
        self.partitions = self.plan.partitions(source)

    def first(self, sampling: Sampling) -> tuple[Survey, PassRecord]:
        """Extremes, counts and the sample; who keeps them tells the monitor of the end."""
        self.monitor.begin("first", 0, self.plan.n_tasks)
        begin = time.perf_counter()
        survey = self._survey(sampling)
        wider = sampling.of_rows(survey.tally.rows)
        if not survey.complete and survey.n_kept < sampling.size and wider.below > sampling.below:
            # so many rows were dropped that too few hashes were looked at
            survey = self._survey(wider)
        record = record_of("first", 0, survey.tally, time.perf_counter() - begin, self.plan.n_tasks)
        record = replace(record, sample_rows=survey.n_kept)
        self._settle(survey.tally)
        return survey, record

    def expect(
        self,
        candidates: Sequence[P],
        iteration: int,
        sampling: Sampling | None = None,
        may_fail: bool = False,
    ) -> Pass[S]:
        """The statistics that each of some parameters induces, all in one reading.

        A sample is brought along where one is wanted. Candidates that may fail are no more than
        tried: it is no error if the likelihood of each is not a number.
        """
        self.monitor.begin("em", iteration, self.plan.n_tasks)
        begin = time.perf_counter()
        summed = self._summed(
            Expectation(self.model, tuple(candidates), self.reading, sampling, may_fail)
        )
        record = record_of(
            "em", iteration, summed.tally, time.perf_counter() - begin, self.plan.n_tasks
        )
        self._settle(summed.tally)
        statistics: Any = list(summed.statistics)
        record = replace(record, kernel=self._kernel(candidates[0]))
        return Pass(statistics, record, summed.survey)

    def _survey(self, sampling: Sampling) -> Survey:
        found = self.runner.reduce(
            "em-sample", survey_leaves, self.partitions, sampling, self.monitor
        )
        return checked(found, self.source.schema)

    def _summed(self, expectation: Expectation) -> Summed:
        summed = self.runner.reduce(
            "em-expect", expect_leaves, self.partitions, expectation, self.monitor
        )
        first = summed.statistics[0] if isinstance(summed, Summed) else None
        if not isinstance(summed, Summed) or first is None or not first.mass > 0:
            raise DataError(
                f"{self.source.schema.describe} has no row of positive weight; nothing can be "
                "fitted to it"
            )
        return summed

    def _settle(self, tally: Tally) -> None:
        # rows in this process's memory that were all finite once need not be looked at again
        if self.source.local and not tally.dropped and not tally.incomplete:
            self.reading = replace(self.reading, missing=None)

    def _kernel(self, parameters: P) -> str | None:
        if not isinstance(self.model, SupportsKernels):
            return None
        return self.model.kernel_name(parameters, self.source.schema.dtype)
