"""The full passes of one fit, and what each of them cost."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Generic, TypeVar

from dask_em.core.em import Iterate
from dask_em.core.model import Model, Repair, SupportsKernels
from dask_em.core.records import Parameters, Statistics
from dask_em.engine.e_step import Expectation, Summed, expect_leaves
from dask_em.engine.monitor import Monitor, PassRecord
from dask_em.engine.plan import Plan
from dask_em.engine.runner import Runner
from dask_em.engine.sample import Sampling, Survey, checked, survey_leaves
from dask_em.engine.source import Source
from dask_em.engine.stream import Reading, Tally
from dask_em.errors import DataError

__all__ = ["Passes"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)


class Passes(Generic[P, S]):
    """Makes passes over a source, one after the other."""

    def __init__(
        self,
        model: Model[P, S],
        source: Source,
        runner: Runner,
        reading: Reading,
        monitor: Monitor,
    ) -> None:
        self.model, self.source, self.runner = model, source, runner
        self.reading, self.monitor = reading, monitor
        self.plan = Plan.make(source, runner.resources)
        self.partitions = self.plan.partitions(source)

    def first(self) -> tuple[Survey, PassRecord]:
        """Extremes, counts and the sample."""
        schema = self.source.schema
        sampling = Sampling.of(schema, replace(self.reading, with_positions=True))
        self.monitor.begin("first", 0, self.plan.n_tasks)
        begin = time.perf_counter()
        survey = self._survey(sampling)
        if not survey.complete and len(survey.rows) < sampling.size:
            # so many rows were dropped that too few hashes were looked at
            wider = Sampling.of(schema, sampling.reading, survey.tally.rows)
            if wider.below > sampling.below:
                survey = self._survey(wider)
        record = self._record("first", 0, survey.tally, time.perf_counter() - begin)
        self.monitor.end(record)
        self._settle(survey.tally)
        return survey, record

    def expect(
        self, parameters: P, previous: PassRecord | None, repairs: tuple[Repair, ...]
    ) -> tuple[S, PassRecord]:
        """The statistics that parameters induce, and the record of the pass.

        Parameters
        ----------
        previous : PassRecord or None
            The E-step before this one, if there was one.
        repairs : tuple of Repair
            What the M-step before this pass had to repair.
        """
        iteration = 0 if previous is None else previous.iteration + 1
        self.monitor.begin("em", iteration, self.plan.n_tasks)
        begin = time.perf_counter()
        summed = self._summed(parameters)
        statistics: Any = summed.statistics
        prior = self.model.log_prior(parameters)
        objective = Iterate(parameters, statistics, prior).objective
        before = None if previous is None else previous.objective
        record = replace(
            self._record("em", iteration, summed.tally, time.perf_counter() - begin),
            objective=objective,
            gain=None if before is None else objective - before,
            kernel=self._kernel(parameters),
            repairs=repairs,
        )
        self.monitor.end(record)
        self._settle(summed.tally)
        return statistics, record

    def _survey(self, sampling: Sampling) -> Survey:
        found = self.runner.reduce(
            "em-sample", survey_leaves, self.partitions, sampling, self.monitor
        )
        return checked(found, self.source.schema)

    def _summed(self, parameters: P) -> Summed:
        expectation = Expectation(self.model, parameters, self.reading)
        summed = self.runner.reduce(
            "em-expect", expect_leaves, self.partitions, expectation, self.monitor
        )
        if not isinstance(summed, Summed) or not summed.statistics.mass > 0:
            raise DataError(
                f"{self.source.schema.describe} has no row of positive weight; nothing can be "
                "fitted to it"
            )
        return summed

    def _settle(self, tally: Tally) -> None:
        # rows in this process's memory that were all finite once need not be looked at again
        if self.source.local and not tally.dropped:
            self.reading = replace(self.reading, missing=None)

    def _kernel(self, parameters: P) -> str | None:
        if not isinstance(self.model, SupportsKernels):
            return None
        return self.model.kernel_name(parameters, self.source.schema.dtype)

    def _record(self, kind: str, iteration: int, tally: Tally, seconds: float) -> PassRecord:
        return PassRecord(
            kind=kind,
            iteration=iteration,
            objective=None,
            gain=None,
            seconds=seconds,
            read_seconds=tally.read_seconds,
            compute_seconds=tally.compute_seconds,
            rows=tally.rows,
            dropped=tally.dropped,
            nbytes=tally.nbytes,
            bad_chunks=tally.bad_chunks,
            n_tasks=self.plan.n_tasks,
            kernel=None,
        )
