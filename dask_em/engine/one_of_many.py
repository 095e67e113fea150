"""One of many fits that share their passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np

from dask_em.core.algorithm import Candidate
from dask_em.core.block import Block
from dask_em.core.em import Iterate
from dask_em.core.em import fit as fit_block
from dask_em.core.model import Repair, SupportsKernels
from dask_em.core.stopping import Outcome
from dask_em.core.together import SupportsTogether
from dask_em.engine.accelerated import Accelerated
from dask_em.engine.course import Course
from dask_em.engine.first import FirstPass
from dask_em.engine.kept import KeptMember
from dask_em.engine.monitor import PassRecord
from dask_em.engine.source import Schema
from dask_em.errors import InputError

__all__ = ["Member", "OneOfMany"]

#: EM steps on the sample, which cost no pass, whatever the limit on passes
SAMPLE_STEPS = 500


@dataclass(frozen=True)
class Member:
    """How the fit of one model ended.

    Parameters
    ----------
    last : Iterate or None
        The parameters of its last pass, and the statistics that they induced.
    history : tuple of PassRecord
        The first pass, then those that it took part in, with its own objective in each.
    outcome : Outcome or None
        None if it failed.
    failure : str or None
        Why it failed.
    """

    last: Iterate[Any, Any] | None
    history: tuple[PassRecord, ...]
    outcome: Outcome | None
    failure: str | None

    @property
    def converged(self) -> bool:
        return self.outcome is Outcome.CONVERGED

    @property
    def n_passes(self) -> int:
        """Passes that it took part in after the first."""
        return sum(record.kind != "first" for record in self.history)


class OneOfMany:
    """One model's course among others: it fails alone.

    Parameters
    ----------
    course : Course
    accelerated : Accelerated, optional
        What makes its start, where that is an optimum of a sample that stands for all rows.
    schema : Schema
        Of the rows.
    """

    def __init__(
        self,
        course: Course[Any, Any],
        accelerated: Accelerated[Any, Any] | None,
        schema: Schema,
    ) -> None:
        self.course, self.model = course, course.mending.model
        self._accelerated, self._schema = accelerated, schema
        self._failure: str | None = None

    @property
    def candidates(self) -> tuple[Candidate[Any], ...]:
        """What the next pass is to try; nothing where it has ended or failed."""
        return () if self._failure else self.course.candidates

    @property
    def sample_rows(self) -> int | None:
        return self.course.sample_rows

    @property
    def objective(self) -> float:
        """Nats per row; -inf before the first pass and where it failed."""
        there = self.course.has_passed and not self._failure
        return self.course.progress.iterate.objective if there else -inf

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """What had to be repaired to get the candidates."""
        return self.course.mending.found(self.candidates[0].parameters)

    def joins(self, other: OneOfMany) -> bool:
        """Whether the two can share the arithmetic of a pass."""
        return isinstance(self.model, SupportsTogether) and self.model.joins(other.model)

    def begin(self, rng: np.random.Generator, like: Any) -> None:
        """Start at an optimum of the sample.

        Parameters
        ----------
        like : Parameters or None
            The sums are to be taken where those of others are, so that arithmetic can be shared.
        """

        def made(sample: Block) -> Any:
            start = self.model.initialize(sample, rng)
            if like is None:
                return start
            assert isinstance(self.model, SupportsTogether)
            return self.model.aligned(start, like)

        with self._failing():
            if self._accelerated is None:
                sample = self.course.mending.first.sample()
                in_memory = replace(self.course.stopping, max_iter=SAMPLE_STEPS)
                found = fit_block(self.model, sample, made(sample), in_memory)
                whole = self.course.mending.first.holds_every_row()
                # one pass confirms the optimum of all rows
                self.course.begin([found.parameters], found.last.objective if whole else -inf)
            else:
                self.course.begin([self._accelerated.start(lambda sample: [made(sample)])])
            self._check()

    def take(self, statistics: list[Any], record: PassRecord) -> None:
        """The statistics that the candidates induced in a pass; `go_on` follows."""
        kernel = self._kernel(self.candidates[0].parameters)
        with self._failing():
            self.course.take(statistics, replace(record, kernel=kernel))

    @property
    def stands(self) -> KeptMember:
        """All that it depends on how it goes on."""
        progress = self.course.progress if self.course.has_passed else None
        return KeptMember(progress, self.course.mending.reseeds, self._failure)

    def go_on(self, kept: KeptMember) -> None:
        """Stand as it was kept, and choose what the next pass is to try."""
        self._failure, self.course.mending.reseeds = kept.failure, kept.reseeds
        if kept.progress is not None:
            self.course.go_on(kept.progress)
        if self._failure is None:
            with self._failing():
                self.course.propose()
                self._check()

    def told(self, first: FirstPass) -> Member:
        """How it ended."""
        progress = self.course.progress if self.course.has_passed else None
        return Member(
            None if progress is None else progress.iterate,
            (*first.records, *(() if progress is None else progress.history)),
            None if self._failure else self.course.outcome,
            self._failure,
        )

    def _check(self) -> None:
        """What would fail in a pass, for all, fails here for one."""
        for one in self.candidates:
            self._kernel(one.parameters)

    def _kernel(self, parameters: Any) -> str | None:
        if not isinstance(self.model, SupportsKernels):
            return None
        return self.model.kernel_name(parameters, self._schema.dtype)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            self._failure = str(error)
